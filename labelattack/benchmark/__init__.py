"""The harness: a grid of cells, a store of records, and the boards made of them."""
