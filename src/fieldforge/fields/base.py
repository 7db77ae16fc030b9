"""The contract of a field: what generated parameters mean at points in space."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

Params = dict[str, Tensor]  # name → (B, rows, width)


Values = dict[str, Tensor]
"""Head → what it answers at points (B, N, d): (B, N) for a number, (B, N, channels) for several."""


class Field(nn.Module, ABC):
    """A field has shared weights (its own `nn.Parameter`s) and generated ones, which come as `params`.

    A *row* of a generated parameter is what one latent token is projected to: a patch of a feature lattice, or the
    incoming weights of one hidden unit (Shap-E, Jun & Nichol 2023, section 3.1).

    dimensions: d of the points it is asked at. heads: what it answers by name, with its channels; 0: a number. ragged:
    generated parameters whose number of rows differs between batches; `param_shapes` says the usual, or the most.
    """

    dimensions: int
    heads: Mapping[str, int]
    ragged: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        """Name of each generated parameter → (rows, width of a row)."""

    @abstractmethod
    def query(self, points: Tensor, params: Params) -> Values:
        """points (B, N, d) in [-1, 1], params[name] (B, rows, width) → values of all heads at the points."""

    def query_head(self, name: str, points: Tensor, params: Params) -> Tensor:
        """One head of `query` alone; a field may answer it at less cost."""
        return self.query(points, params)[name]

    def check(self, params: Params) -> None:
        """ValueError if `params` are not what `param_shapes` announces."""
        for name, (rows, width) in self.param_shapes.items():
            if name not in params:
                raise ValueError(f"field parameter '{name}' is missing: got {sorted(params)}")
            fits = name in self.ragged or params[name].shape[1] == rows
            if not fits or params[name].shape[2] != width:
                raise ValueError(
                    f"field parameter '{name}' must be (B, {rows}, {width}), got {tuple(params[name].shape)}"
                )
