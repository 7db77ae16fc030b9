"""Solvers: sample(denoise, noise (B, T, C), process, times (steps + 1,), generator) → x0 (B, T, C)."""
