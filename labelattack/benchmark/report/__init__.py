"""Boards as people read them: tables, plots, and one page."""
