"""Containers of labels in Python programs: one file a kind, read and written again."""
