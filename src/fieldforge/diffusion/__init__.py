"""Parameterizations, losses, samplers, guidance, backbones."""
