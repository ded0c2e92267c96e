"""Audit of labels with gaps: the entries that are most likely positives that somebody missed."""
