"""What a latent means: signed distance, density and colour at points."""
