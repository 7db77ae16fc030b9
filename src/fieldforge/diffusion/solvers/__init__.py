"""Solvers: sample(denoise, noise (B, T, C), process, times (steps + 1,), randomness) → x0 (B, T, C)."""
