"""Boards: records summed up over seeds, ranked, with intervals."""
