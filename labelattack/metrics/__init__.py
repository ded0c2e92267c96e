"""Metrics of scores and statistics over runs: pure functions."""
