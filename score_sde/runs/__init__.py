"""Runs: the folder of a run, training in it, and sampling and scoring the trained model."""
