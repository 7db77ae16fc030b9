"""Tokens that stay as they are, while the others are drawn to go with them."""

from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser, Estimate, estimate


class Completion:
    """A denoiser that knows x₀ at some tokens.

    There every solver then goes from its noise to what is known: at each step it is the known latent under the noise of
    that step, which the denoiser beneath sees beside the tokens that are drawn (Lugmayr et al. 2022, "RePaint", arXiv
    2201.09865, eq. 8; without its resampling).

    Args:
        denoise: of all tokens.
        known: x₀, (B or 1, T, C).
        anew: (T,) bool, the tokens that are drawn; the others are `known`.
    """

    def __init__(self, denoise: Denoiser, known: Tensor, anew: Tensor):
        self.denoise, self.known, self.anew = denoise, known, anew[:, None].to(known.device)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.estimate(x_t, t).x0

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        own = estimate(self.denoise, x_t, t)
        return Estimate(own.x0.where(self.anew, self.known.to(own.x0)), own.fraction)
