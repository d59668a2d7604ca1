"""Configs: experiments as small differences from one default, in plain values, without torch."""
