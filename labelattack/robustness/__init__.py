"""Robustness to changed pixels: evasion attacks and common corruptions of test images."""
