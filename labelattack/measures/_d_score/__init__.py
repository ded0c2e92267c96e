"""PatchFeatures of the D-Score."""
