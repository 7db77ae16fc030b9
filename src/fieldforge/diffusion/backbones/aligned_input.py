"""Concatenation of an aligned condition to the latent tokens."""

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.errors import UserError


def beside(x: Tensor, condition: Condition, channels: int) -> Tensor:
    """Concatenates the condition's A = `channels` numbers at each token to x (B, T, C) → (B, T, C + A).

    Rombach et al. 2022 (arXiv 2112.10752), section 4.4. A condition without these numbers counts as zeros.

    Raises:
        UserError: the condition has another number of places than the latent has tokens.
    """
    if not channels:
        return x
    if condition.aligned is None:
        return torch.cat([x, x.new_zeros(*x.shape[:2], channels)], -1)
    if condition.aligned.shape[1] not in (1, x.shape[1]):
        raise UserError(
            f"the condition has numbers at {condition.aligned.shape[1]} places and the latent {x.shape[1]} tokens: "
            f"give it one place for each token, as latent_data.transforms.coarse.transform.factor does where it is the "
            f"autoencoder's"
        )
    aligned = condition.at_tokens(x.shape[1]).aligned
    assert aligned is not None
    return torch.cat([x, aligned.to(x.dtype)], -1)
