"""Computation of the D-Score."""
