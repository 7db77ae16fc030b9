"""Backbones: forward(x (B, T, C), noise_level (B,), condition) → (B, T, C)."""
