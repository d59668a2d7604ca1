"""The folder of a run: its files, and what is done with a trained model."""
