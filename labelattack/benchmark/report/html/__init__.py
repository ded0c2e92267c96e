"""One self-contained page about a store: boards, plots, provenance, and the data behind them."""
