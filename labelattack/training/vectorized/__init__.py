"""Vectorized training: many linear heads as one."""
