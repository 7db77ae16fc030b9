"""Noise processes: alpha(t), sigma(t), and the densities of t."""
