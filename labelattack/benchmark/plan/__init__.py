"""Cells that are to be run, and the experiments that ask for them."""
