"""Classifier guidance."""

from collections.abc import Callable

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import ConditionalDenoiser, Denoiser, Guidance
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.noise.process import like


class ByClassifier:
    """x̂₀ + scale · σ²/α · ∇ log p(label | x_t) (Dhariwal & Nichol 2021, algorithm 2, written for x̂₀).

    `classifier(x_t (B, T, C), t (B,)) → log-probabilities (B, classes)`, labels (B,). `base` guides the base model; by
    default this is the unconditional model, and scale 1 then samples the classifier's posterior. Where α = 0 the term
    is left out: x_t holds no signal.
    """

    def __init__(
        self,
        classifier: Callable[[Tensor, Tensor], Tensor],
        labels: Tensor,
        scale: float = 1.0,
        base: Guidance | None = None,
    ):
        self.classifier = classifier
        self.labels = labels
        self.scale = scale
        self.base = base or ClassifierFree(scale=0.0)

    def gradient(self, x_t: Tensor, t: Tensor) -> Tensor:
        """∇ log p(label | x_t) with respect to x_t: (B, T, C)."""
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            log_likelihood = self.classifier(x_t, t).gather(1, self.labels[:, None])  # (B, 1)
            return torch.autograd.grad(log_likelihood.sum(), x_t)[0]

    def __call__(self, model: ConditionalDenoiser, condition: Condition, null: Condition) -> Denoiser:
        base = self.base(model, condition, null)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            alpha, sigma = model.process.alpha(t), model.process.sigma(t)  # (B,) each
            reach = torch.where(alpha > 0, sigma**2 / alpha, 0.0)  # (B,)
            return base(x_t, t) + self.scale * like(reach, x_t) * self.gradient(x_t, t)

        return denoise
