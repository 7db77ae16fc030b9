"""Fieldforge: train your own generative model of 3D shapes."""

__version__ = "0.1.0"
