"""Shap-E's field: a perceptron on encoded positions, whose first weight matrices are generated."""

import math

import torch
from torch import Tensor, nn

from fieldforge.fields.base import Field, FieldValues, Params
from fieldforge.fields.density import LaplaceDensity
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.mlp import batched_linear
from fieldforge.ranges import Count, Positive, Whole


class MLPField(Field):
    """Hidden layers of width `hidden` on NeRF position encoding; the first `generated` weight matrices are parameters.

    Shap-E (Jun & Nichol 2023), section 3.1 and its released configuration: a row of a generated matrix holds the
    incoming weights of one hidden unit, biases and later layers are shared. Unlike there, density follows from signed
    distance (`LaplaceDensity`) and colour is one head, so that mesh and radiance agree.
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
        super().__init__()
        if not 1 <= generated <= layers:
            raise ValueError(f"MLPField: generated={generated} must be between 1 and layers={layers}")
        self.hidden, self.degrees, self.generated = hidden, degrees, generated
        self.fan_in = [positional_encoding_width(degrees)] + [hidden] * (layers - 1)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(hidden)) for _ in range(layers))
        # What is generated is a change to a shared matrix: the field is a sensible MLP before anything is learned.
        self.base = nn.ParameterList(
            nn.Parameter(torch.randn(hidden, fan_in) / math.sqrt(fan_in)) for fan_in in self.fan_in
        )
        self.head = nn.Linear(hidden, 4)
        nn.init.constant_(self.head.bias[:1], initial_distance)
        self.density = density or LaplaceDensity()

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {f"weight_{i}": (self.hidden, self.fan_in[i]) for i in range(self.generated)}

    def query(self, points: Tensor, params: Params) -> FieldValues:
        self.check(params)
        h = positional_encoding(points, self.degrees)  # (B, N, fan_in[0])
        for i, (base, bias) in enumerate(zip(self.base, self.biases, strict=True)):
            if i < self.generated:
                h = batched_linear(h, base + params[f"weight_{i}"], bias)  # (B, N, hidden)
            else:
                h = nn.functional.linear(h, base, bias)  # (B, N, hidden)
            h = nn.functional.silu(h)
        out = self.head(h).float()  # (B, N, 4)
        sdf = out[..., 0]  # (B, N)
        return FieldValues(sdf, self.density(sdf), out[..., 1:].sigmoid())
