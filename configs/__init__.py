"""Experiments as small differences from one default, in plain values; no torch here."""
