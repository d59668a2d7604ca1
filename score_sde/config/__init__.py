"""Configs: reading and changing them, and building the objects that they describe."""
