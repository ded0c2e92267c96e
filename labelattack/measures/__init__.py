"""Measures of trained networks: one file each."""
