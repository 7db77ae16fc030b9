"""Backbones: forward(x (B, T, C), noise_level (B,), condition) → (B, T, output_channels).

The stage passes each backbone `tokens` T, `channels` C and `grid` of the latent, `condition_width` and
`output_channels`: a multiple of C, 2 C for a learned variance. Learned positions start as sinusoidal embeddings where
the tokens fill a grid in row-major order, and as noise where `grid` is None. With `aligned_channels` A > 0 a backbone
reads `Condition.aligned` beside x, see `aligned_input.beside`.
"""
