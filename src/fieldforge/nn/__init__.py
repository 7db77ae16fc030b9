"""Network parts shared by the autoencoder and the denoiser."""
