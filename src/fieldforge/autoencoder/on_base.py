"""An autoencoder on top of another one, whose weights stay as they are."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder


class OnBase(Autoencoder):
    """Has another autoencoder as `base`, which comes from a run of its own (`init_from=`, or the stage before)."""

    starts_from_another = True
    base: Autoencoder

    def initial_weights(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of a base become those of `base`, beside the present ones of the rest."""
        if any(name.startswith("base.") for name in weights):
            return weights
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("base.")}
        return own | {f"base.{name}": value for name, value in weights.items()}

    @property
    def reads(self) -> tuple[str, ...]:
        return self.base.reads
