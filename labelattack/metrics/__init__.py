"""Pure functions: metrics of multi-label scores, and statistics over runs."""
