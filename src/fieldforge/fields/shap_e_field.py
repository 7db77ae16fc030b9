"""Shap-E's field, value for value: a perceptron whose first four weight matrices are the latent's rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.fields.base import Params, Values
from fieldforge.fields.radiance import Levels, Radiance, RadianceField
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.fields.z_up import to_z_up
from fieldforge.nn.batched_mlp import batched_linear
from fieldforge.nn.cached_chunks import in_cached_chunks
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.ranges import Count, Positive, Whole

OUTPUTS = {"sdf": 1, "density_coarse": 1, "density_fine": 1, "rgb": 3, "rgb_coarse": 3, "rgb_fine": 3}
"""Numbers of the last layer, in their order: signed distance, density and colour of the two radiance fields, and the
colour of the mesh between them."""
DISTANCE_BIAS, DENSITY_BIAS = -0.1, 0.1  # of the last layer at the start: outside everywhere, and a little fog


class ShapEField(RadianceField):
    """Hidden layers of width `hidden` on NeRF position encoding, SiLU; twelve outputs (Jun & Nichol 2023, section 3.1).

    The first `generated` weight matrices are `params`, a row for each hidden unit; their biases and all later layers
    are shared. The direction of the ray joins at layer `direction_layer`. A mesh has the signed distance tanh(·) and a
    colour of its own; the two radiance fields, coarse and fine, have densities ReLU(·) and colours.

    The networks speak Shap-E's language, z up and positive inside; this class turns points on entry and the sign on
    exit. The encoding starts at ω = 1, not at π.

    Args:
        layers: hidden ones.
        degrees, direction_degrees: of the encodings of positions and directions.
        sees_direction: whether radiance reads the direction. Otherwise it is zeros, as for distances; Shap-E's own
            renderings of generated latents leave it out.
        scale: deviation of a layer's initial weights times the root of its inputs.
    """

    dimensions, heads = 3, SHAPE_HEADS

    def __init__(
        self,
        hidden: Count = 256,
        layers: Count = 6,
        generated: Whole = 4,
        degrees: Whole = 15,
        direction_layer: Whole = 4,
        direction_degrees: Whole = 8,
        sees_direction: bool = False,
        scale: Positive = 0.25,
    ):
        super().__init__()
        if not 1 <= generated <= direction_layer <= layers:
            raise ValueError(
                f"ShapEField needs 1 ≤ generated ≤ direction_layer ≤ layers, "
                f"got {generated}, {direction_layer} and {layers}"
            )
        self.hidden, self.generated, self.direction_layer = hidden, generated, direction_layer
        self.degrees, self.direction_degrees, self.sees_direction = degrees, direction_degrees, sees_direction
        widths = [positional_encoding_width(degrees)] + [hidden] * layers
        self.fan_in = widths[:generated]
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(hidden)) for _ in range(generated))
        widths[direction_layer] += positional_encoding_width(direction_degrees)
        outputs = [hidden] * (layers - generated) + [sum(OUTPUTS.values())]
        self.shared = nn.ModuleList(
            nn.Linear(fan_in, fan_out) for fan_in, fan_out in zip(widths[generated:], outputs, strict=True)
        )
        for layer in self.linear_layers():
            nn.init.normal_(layer.weight, std=scale / math.sqrt(layer.in_features))
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            layer.bias[:2] = torch.tensor([DISTANCE_BIAS, DENSITY_BIAS])

    def linear_layers(self) -> Iterator[nn.Linear]:
        """The shared layers, in their order."""
        for layer in self.shared:
            assert isinstance(layer, nn.Linear)
            yield layer

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {f"weight_{number}": (self.hidden, fan_in) for number, fan_in in enumerate(self.fan_in)}

    def query(self, points: Tensor, params: Params) -> Values:
        """Of the mesh: signed distance and colour; and the density of the fine radiance field."""
        out = self._outputs(points, None, params)
        return {
            "sdf": -out["sdf"][..., 0].tanh(),
            "density": out["density_fine"][..., 0].relu(),
            "rgb": out["rgb"].sigmoid(),
        }

    def radiance(self, points: Tensor, directions: Tensor, params: Params) -> Levels:
        out = self._outputs(points, directions if self.sees_direction else None, params)
        fine, coarse = (
            Radiance(out[f"density_{level}"][..., 0].relu(), out[f"rgb_{level}"].sigmoid())
            for level in ("fine", "coarse")
        )
        return Levels(fine, coarse)

    def _outputs(self, points: Tensor, directions: Tensor | None, params: Params) -> dict[str, Tensor]:
        """The numbers of the last layer (B, N, 1 | 3) by name, in float32; products are in autocast's precision."""
        self.check(params)
        out = in_cached_chunks(partial(self._last_layer, params), points, directions)
        parts = out.split(list(OUTPUTS.values()), dim=-1)
        return dict(zip(OUTPUTS, parts, strict=True))

    def _last_layer(self, params: Params, points: Tensor, directions: Tensor | None) -> Tensor:
        """Twelve numbers (B, N, 12) of points and directions (B, N, 3)."""
        h = positional_encoding(to_z_up(points), self.degrees, slowest=1.0)  # (B, N, fan_in[0])
        for number, bias in enumerate(self.biases):
            h = F.silu(batched_linear(h, params[f"weight_{number}"], bias))  # (B, N, hidden)
        for number, layer in enumerate(self.linear_layers(), self.generated):
            if number > self.generated:
                h = F.silu(h)
            h = self._with_direction(layer, h, directions) if number == self.direction_layer else layer(h)
        return h.float()

    def _with_direction(self, layer: nn.Linear, h: Tensor, directions: Tensor | None) -> Tensor:
        """The layer of h (B, N, hidden) and the encoded directions (B, N, 3); zeros in their place need no product."""
        if directions is None:
            return F.linear(h, layer.weight[:, : self.hidden], layer.bias)
        encoded = positional_encoding(to_z_up(directions), self.direction_degrees, slowest=1.0)
        return layer(torch.cat([h, encoded.to(h)], dim=-1))
