"""Registries of pluggable components and the specs that name them."""
