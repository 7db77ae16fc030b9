"""Shap-E's field: a perceptron on encoded positions, whose first weight matrices are generated."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.density import LaplaceDensity
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.nn.batched_mlp import batched_linear
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.ranges import Count, Positive, Whole


class MLPField(Field):
    """Hidden layers of width `hidden` on NeRF position encoding; the first `generated` weight matrices are parameters.

    Shap-E (Jun & Nichol 2023), section 3.1 and its released configuration: a row of a generated matrix holds the
    incoming weights of one hidden unit, biases and later layers are shared. Heads are linear maps of the last layer.

    Args:
        heads: see `Field`.
        dimensions: d of the points.
        degrees: of the position encoding.
    """

    def __init__(
        self,
        heads: Mapping[str, int],
        dimensions: Count = 3,
        hidden: Count = 256,
        layers: Count = 6,
        generated: Whole = 4,
        degrees: Whole = 15,
    ):
        super().__init__()
        if not 1 <= generated <= layers:
            raise ValueError(f"MLPField: generated={generated} must be between 1 and layers={layers}")
        self.dimensions, self.heads = dimensions, dict(heads)
        self.hidden, self.degrees, self.generated = hidden, degrees, generated
        self.fan_in = [positional_encoding_width(degrees, dimensions)] + [hidden] * (layers - 1)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(hidden)) for _ in range(layers))
        # What is generated is a change to a shared matrix: the field is a sensible MLP before anything is learned.
        self.base = nn.ParameterList(
            nn.Parameter(torch.randn(hidden, fan_in) / math.sqrt(fan_in)) for fan_in in self.fan_in
        )
        self.head = nn.Linear(hidden, self.outputs)

    @property
    def outputs(self) -> int:
        """Numbers that the last layer gives at a point."""
        return sum(max(1, channels) for channels in self.heads.values())

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {f"weight_{i}": (self.hidden, self.fan_in[i]) for i in range(self.generated)}

    def query(self, points: Tensor, params: Params) -> Values:
        parts = self.numbers(points, params).split([max(1, channels) for channels in self.heads.values()], dim=-1)
        named = zip(self.heads.items(), parts, strict=True)
        return {name: part if channels else part[..., 0] for (name, channels), part in named}

    def numbers(self, points: Tensor, params: Params) -> Tensor:
        """points (B, N, d) → what the last layer gives, in float32: (B, N, outputs)."""
        self.check(params)
        h = positional_encoding(points, self.degrees)  # (B, N, fan_in[0])
        for i, (base, bias) in enumerate(zip(self.base, self.biases, strict=True)):
            if i < self.generated:
                h = batched_linear(h, base + params[f"weight_{i}"], bias)  # (B, N, hidden)
            else:
                h = nn.functional.linear(h, base, bias)  # (B, N, hidden)
            h = nn.functional.silu(h)
        return self.head(h).float()


class ShapeMLPField(MLPField):
    """An `MLPField` of a shape.

    Unlike in Shap-E, density follows from signed distance (`LaplaceDensity`) and colour is one head, so that mesh and
    radiance agree.
    """

    def __init__(
        self,
        hidden: Count = 256,
        layers: Count = 6,
        generated: Whole = 4,
        degrees: Whole = 15,
        density: LaplaceDensity | None = None,
        initial_distance: Positive = 0.1,
    ):
        super().__init__(SHAPE_HEADS, 3, hidden, layers, generated, degrees)
        nn.init.constant_(self.head.bias[:1], initial_distance)
        self.density = density or LaplaceDensity()

    @property
    def outputs(self) -> int:
        """Signed distance and colour: density is not the last layer's."""
        return 4

    def query(self, points: Tensor, params: Params) -> Values:
        out = self.numbers(points, params)  # (B, N, 4)
        sdf = out[..., 0]  # (B, N)
        return {"sdf": sdf, "density": self.density(sdf), "rgb": out[..., 1:].sigmoid()}
