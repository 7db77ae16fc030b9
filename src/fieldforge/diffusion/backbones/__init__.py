"""Backbones: forward(x (B, T, C), noise_level (B,), condition) → (B, T, output_channels).

What is trained gives each of them `tokens` T and `channels` C of the latent, its `grid`, `condition_width` and
`output_channels`: a multiple of C, 2 C for a learned variance. Where tokens fill a grid in row-major order, learned
positions start as sines and cosines of their places; where `grid` is None, as noise. With
`aligned_channels` A > 0 it reads `Condition.aligned` beside x, see `aligned.beside`.
"""
