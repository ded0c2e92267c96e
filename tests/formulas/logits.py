"""Formulas of losses that need logits alone."""

FORMULAS = {}
