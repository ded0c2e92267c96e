"""Regression gate: scores compared with a committed baseline."""
