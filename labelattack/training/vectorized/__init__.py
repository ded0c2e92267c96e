"""Many linear heads trained as one."""
