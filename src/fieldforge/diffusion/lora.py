"""Adapters: a finished denoiser is trained on by low-rank corrections of its linear layers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from fieldforge.nn.low_rank import correct, linear_layers, merged
from fieldforge.ranges import Count, Positive


class LoRA:
    """Low-rank adaptation of a denoiser's backbone (Hu et al. 2021, arXiv 2106.09685).

    Args:
        rank: of each correction.
        alpha: a correction is scaled by alpha / rank, so that another rank needs no other learning rate.
        layers: names of linear layers of the backbone that are corrected, `*` for any characters.
    """

    def __init__(self, rank: Count, alpha: Positive, layers: Sequence[str]):
        self.rank, self.alpha, self.layers = rank, alpha, list(layers)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def install(self, backbone: nn.Module, *frozen: nn.Module) -> None:
        """Correct a backbone's layers; all else of it, and the modules `frozen`, stay as they are.

        Raises:
            UserError: a name of `layers` that no linear layer has.
        """
        for part in (backbone, *frozen):
            part.requires_grad_(False)
        for layer in linear_layers(backbone, self.layers).values():
            correct(layer, self.rank, self.scale)

    def merged(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of a corrected model as that of a model without corrections."""
        return merged(state, self.scale)
