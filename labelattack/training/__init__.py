"""Training: protocols, the feature cache, and the only optimiser loop."""
