"""The contract of a field: what generated parameters mean at points in space."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

Params = dict[str, Tensor]  # name → (B, rows, width)


@dataclass(frozen=True)
class FieldValues:
    """What a field says at points (B, N, 3) of the box.

    sdf (B, N): signed distance in box units, negative inside.
    density (B, N): extinction per box unit, ≥ 0, for the volume integral.
    rgb (B, N, 3): sRGB in [0, 1].
    """

    sdf: Tensor
    density: Tensor
    rgb: Tensor

    def __post_init__(self) -> None:
        assert self.sdf.shape == self.density.shape == self.rgb.shape[:-1], (
            f"sdf {tuple(self.sdf.shape)}, density {tuple(self.density.shape)}, rgb {tuple(self.rgb.shape)} do not fit"
        )


class Field(nn.Module, ABC):
    """A field has shared weights (its own `nn.Parameter`s) and generated ones, which come as `params`.

    A *row* of a generated parameter is what one latent token is projected to: a patch of a feature lattice, or the
    incoming weights of one hidden unit (Shap-E, Jun & Nichol 2023, section 3.1).
    """

    @property
    @abstractmethod
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        """Name of each generated parameter → (rows, width of a row)."""

    @abstractmethod
    def query(self, points: Tensor, params: Params) -> FieldValues:
        """points (B, N, 3) in box units, params[name] (B, rows, width) → values at the points."""

    def check(self, params: Params) -> None:
        """ValueError if `params` are not what `param_shapes` announces."""
        for name, (rows, width) in self.param_shapes.items():
            if name not in params:
                raise ValueError(f"field parameter '{name}' is missing: got {sorted(params)}")
            if params[name].shape[1:] != (rows, width):
                raise ValueError(
                    f"field parameter '{name}' must be (B, {rows}, {width}), got {tuple(params[name].shape)}"
                )
