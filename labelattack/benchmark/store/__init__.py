"""Records on disk, and what looks after them."""
