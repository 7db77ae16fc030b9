"""Guidance: (conditional denoiser, condition, null condition) → denoiser."""
