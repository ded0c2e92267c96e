"""Training: protocols, the loop of one network, many heads as one, and the feature cache."""
