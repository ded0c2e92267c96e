"""Training protocols: one file each."""
