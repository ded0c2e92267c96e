"""One self-contained page about a store: boards, pictures, provenance, and the data behind them."""
