"""A small store of results and the exact bytes that the command line makes of it."""
