"""Running cells: scheduling, leases, executors, and one cell's work."""
