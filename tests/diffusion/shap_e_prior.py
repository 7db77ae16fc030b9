"""Pairs of a small `ShapEBackbone` and diffusers' `PriorTransformer` of the same size, with random weights."""

import torch
from diffusers import PriorTransformer

from fieldforge.diffusion.backbones.shap_e import ShapEBackbone
from fieldforge.exchange.prior_files import prior_config

TOKENS, CHANNELS = 8, 4
SIZES = dict(tokens=TOKENS, channels=CHANNELS, width=32, layers=2, output_channels=2 * CHANNELS)
KINDS = {
    "text": dict(**SIZES, heads=4, condition_width=12),
    "image": dict(**SIZES, heads=2, condition_width=16, reads="tokens"),
}
FULL = dict(tokens=1024, channels=1024, width=1024, layers=24, output_channels=2048)
FULL_KINDS = {
    "text": dict(**FULL, heads=16, condition_width=768),
    "image": dict(**FULL, heads=8, condition_width=1024, reads="tokens"),
}


def random_prior(kind: str) -> PriorTransformer:
    torch.manual_seed(1)
    prior = PriorTransformer.from_config(prior_config(ShapEBackbone(**KINDS[kind]))).eval().requires_grad_(False)
    for name, parameter in prior.named_parameters():
        if not name.startswith("clip_"):  # never read by Shap-E, zero in its files
            parameter.copy_(parameter + 0.2 * torch.randn_like(parameter))
    return prior
