"""Exponential and power-function moving averages of the weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from fieldforge.errors import UserError
from fieldforge.ranges import ShareBelow1


class Decay(Protocol):
    """The decay of a moving average: the factor that each update applies to it."""

    def at(self, step: int) -> float:
        """Factor in [0, 1] for the update after training step `step` = 1, 2, …"""
        ...


class PlainDecay:
    """A constant decay that first rises as (1 + step) / (10 + step), so that short runs forget their start."""

    def __init__(self, decay: ShareBelow1 = 0.9999):
        if not 0 <= decay < 1:
            raise UserError(f"PlainDecay needs a decay in [0, 1), got {decay}")
        self.decay = decay

    def at(self, step: int) -> float:
        return min(self.decay, (1 + step) / (10 + step))


class PowerDecay:
    """(1 - 1/step)^(γ + 1): the profile of the average is t^γ, whatever the length of the run.

    Karras et al. 2023, "EDM2", eq. 123-127. `std` is the profile's deviation relative to the length of training: 0.1
    averages over about the last 10 %.
    """

    def __init__(self, std: float = 0.1):
        self.gamma = gamma_of_std(std)

    def at(self, step: int) -> float:
        return (1 - 1 / step) ** (self.gamma + 1)


def gamma_of_std(std: float) -> float:
    """Inverts std² = (γ + 1) / ((γ + 2)² (γ + 3)) (EDM2, eq. 126), γ > 0; std below about 0.289."""
    if not 0 < std < math.sqrt(1 / 12):
        raise UserError(f"the relative std of a power-function average lies between 0 and 0.288, got {std}")
    low, high = 0.0, 1 / std + 1
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        wide = (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > std**2
        low, high = (middle, high) if wide else (low, middle)
    return (low + high) / 2


class EMA:
    """Exponential moving average of a module's parameters and floating-point buffers, in float32.

    Holds plain tensors beside the module; integer buffers are copied.
    """

    def __init__(self, module: nn.Module, decay: Decay):
        self.decay = decay
        self.average: dict[str, Tensor] = {name: _own(tensor) for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Updates the average with the weights after training step `step` = 1, 2, …"""
        keep = self.decay.at(step)
        means, weights = [], []
        for name, tensor in module.state_dict().items():
            mean = self.average[name]
            if mean.is_floating_point():
                means.append(_here(mean))
                weights.append(_here(tensor.to(mean)))
            else:
                mean.copy_(tensor)
        torch._foreach_lerp_(means, weights, 1 - keep)  # one kernel for many tensors

    def copy_to(self, module: nn.Module) -> None:
        """Sets the module's weights to the average."""
        module.load_state_dict(self.average)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.average)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state.keys() != self.average.keys():
            different = sorted(state.keys() ^ self.average.keys())
            raise UserError(f"the saved average belongs to another model: {different[0]} is only in one of them")
        for name, tensor in state.items():
            self.average[name].copy_(tensor)


def _here(tensor: Tensor) -> Tensor:
    """The rows of this process, where a tensor is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)


@dataclass(frozen=True)
class Profile:
    """The profile of a power-function average after `step` steps."""

    step: int
    gamma: float

    def overlap(self, other: "Profile") -> float:
        """∫ p q over training time, of the two normalised profiles (γ + 1) t^γ / step^(γ + 1) (EDM2, eq. 145)."""
        shared = min(self.step, other.step)
        power = self.gamma + other.gamma + 1
        return (
            (self.gamma + 1)
            * (other.gamma + 1)
            / power
            * (shared / self.step) ** (self.gamma + 1)
            * (shared / other.step) ** (other.gamma + 1)
            / shared
        )


def posthoc_weights(snapshots: Sequence[Profile], target: Profile) -> list[float]:
    """Weights of the stored averages whose sum comes closest to `target` in least squares (EDM2, algorithm 3).

    The result is scaled to a sum of 1, as every profile has: a smaller sum would shrink all weights of the model.
    """
    matrix = torch.tensor([[a.overlap(b) for b in snapshots] for a in snapshots], dtype=torch.float64)
    vector = torch.tensor([a.overlap(target) for a in snapshots], dtype=torch.float64)
    weights = torch.linalg.lstsq(matrix, vector[:, None], driver="gelsd").solution[:, 0]
    return (weights / weights.sum()).tolist()


def combine(averages: Sequence[dict[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Weighted sum of stored averages; integer buffers come from the last."""
    return {
        name: sum((w * average[name] for w, average in zip(weights, averages, strict=True)), torch.zeros_like(last))
        if last.is_floating_point()
        else last
        for name, last in averages[-1].items()
    }


def misfit(snapshots: Sequence[Profile], weights: Sequence[float], target: Profile) -> float:
    """Distance of the weighted sum of profiles to `target`, over the norm of `target`, both in L²; 0: exact."""
    weighted = list(zip(weights, snapshots, strict=True))
    own = target.overlap(target)
    towards = sum(w * profile.overlap(target) for w, profile in weighted)
    pairs = [w * v * a.overlap(b) for w, a in weighted for v, b in weighted]
    return math.sqrt(max(0.0, (own - 2 * towards + sum(pairs)) / own))
