"""Inpainting of latents: some tokens are given, the others are sampled to match."""

from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser, Estimate, estimate


class Completion:
    """A denoiser that is given x₀ at some tokens.

    At these tokens every solver moves from its noise to the given latent. At each step they are the given latent under
    the noise of that step; the base denoiser reads them beside the sampled tokens (Lugmayr et al. 2022, "RePaint",
    arXiv 2201.09865, eq. 8; without its resampling).

    Args:
        denoise: the base denoiser of all tokens.
        known: x₀, (B or 1, T, C).
        anew: (T,) bool, the tokens to sample; the others keep `known`.
    """

    def __init__(self, denoise: Denoiser, known: Tensor, anew: Tensor):
        self.denoise, self.known, self.anew = denoise, known, anew[:, None].to(known.device)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.estimate(x_t, t).x0

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        own = estimate(self.denoise, x_t, t)
        return Estimate(own.x0.where(self.anew, self.known.to(own.x0)), own.fraction)
