"""Parts of the D-Score."""
