"""Formulas of losses that keep state, or are given a side table."""

FORMULAS = {}
