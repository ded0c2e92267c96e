"""Evaluation: pure functions from scores and labels to numbers."""
