"""Point clouds to latents, latents to field parameters."""
