"""The application: from a config to a trained, sampled and scored model in a folder."""
