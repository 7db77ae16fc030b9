"""Fields whose generated parameters are spatial: patches of a feature lattice, read by a small perceptron."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.density import LaplaceDensity
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.nn.batched_mlp import batched_linear
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.nn.linear import pass_through
from fieldforge.ranges import Count, Positive, Whole

COLOR_SLOPE = 3.0  # of logits: sigmoid(3 tanh(2 c - 1)) is about c
PLANES = ((0, 1), (0, 2), (1, 2))  # the two axes of each plane of a triplane: xy, xz, yz


class FeatureReader(Field):
    """features at a point ⊕ encoded position → one perceptron for signed distance, one for colour.

    The former's first weight matrix is generated too (parameter `weight`: one row holds the incoming weights of one
    hidden unit, as in Shap-E, Jun & Nichol 2023, section 3.1), as a change to a shared matrix; the rest is shared.
    Colour has weights of its own, because distance's gradients are much the larger ones. Its logits begin as the last
    three channels of the features, where decoders hand colours through (`pass_through`): the perceptron by itself
    learns to tell light from dark in a few hundred steps, and hues in thousands.
    Subclasses say where the features come from.
    """

    dimensions = 3
    heads = SHAPE_HEADS

    def __init__(
        self,
        channels: int,
        rows: int,
        hidden: int,
        degrees: int,
        generated: bool,
        density: LaplaceDensity | None,
        initial_distance: float,
    ):
        super().__init__()
        self.channels, self.degrees, self.hidden, self.generated = channels, degrees, hidden, generated
        self.fan_in = rows * channels + positional_encoding_width(degrees)
        self.first = nn.Linear(self.fan_in, hidden)
        distance = nn.Linear(hidden, 1)
        nn.init.constant_(distance.bias, initial_distance)  # outside everywhere before anything is learned
        self.to_distance = nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), distance)
        self.to_color = nn.Sequential(nn.Linear(self.fan_in, hidden), nn.SiLU(), nn.Linear(hidden, 3))
        self.color_shortcut = pass_through(channels, 3)
        self.density = density or LaplaceDensity()

    @abstractmethod
    def features(self, points: Tensor, params: Params) -> Tensor:
        """points (B, N, 3) → (B, N, rows, channels), of each row of parameters that a point reads."""

    def query(self, points: Tensor, params: Params) -> Values:
        self.check(params)
        features = self.features(points, params)  # (B, N, rows, channels)
        x = torch.cat([features.flatten(2), positional_encoding(points, self.degrees)], -1)  # (B, N, fan_in)
        if self.generated:
            h = batched_linear(x, self.first.weight + params["weight"], self.first.bias)  # (B, N, hidden)
        else:
            h = self.first(x)  # (B, N, hidden)
        sdf = self.to_distance(h).float()[..., 0]  # (B, N)
        logits = self.to_color(x) + COLOR_SLOPE * self.color_shortcut(features.mean(2))  # (B, N, 3)
        return {"sdf": sdf, "density": self.density(sdf), "rgb": logits.float().sigmoid()}

    def _generated_shapes(self) -> dict[str, tuple[int, int]]:
        return {"weight": (self.hidden, self.fan_in)} if self.generated else {}


class LatticeField(FeatureReader):
    """Features on a resolution³ lattice over the box, read trilinearly.

    Parameter `lattice` (resolution³, features): one row a lattice point, x slowest, z fastest.
    """

    def __init__(
        self,
        resolution: Count = 32,
        features: Count = 16,
        hidden: Count = 64,
        degrees: Whole = 5,
        generated: bool = True,
        density: LaplaceDensity | None = None,
        initial_distance: Positive = 0.05,
    ):
        super().__init__(features, 1, hidden, degrees, generated, density, initial_distance)
        self.resolution = resolution

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {"lattice": (self.resolution**3, self.channels), **self._generated_shapes()}

    def features(self, points: Tensor, params: Params) -> Tensor:
        r = self.resolution
        volume = params["lattice"].view(-1, r, r, r, self.channels).permute(0, 4, 1, 2, 3)  # (B, F, X, Y, Z)
        where = points.flip(-1)[:, None, None].to(volume.dtype)  # grid_sample wants the last axis first
        read = F.grid_sample(volume, where, padding_mode="border", align_corners=False)  # (B, F, 1, 1, N)
        return read[:, :, 0, 0].transpose(1, 2)[:, :, None]  # (B, N, 1, F)


class TriplaneField(FeatureReader):
    """Features on three planes of resolution² over the box (EG3D, Chan et al. 2022), read bilinearly.

    Parameter `planes` (3 · resolution², features): one row a pixel; planes xy, xz, yz in turn, first axis slowest.
    """

    def __init__(
        self,
        resolution: Count = 64,
        features: Count = 16,
        hidden: Count = 64,
        degrees: Whole = 5,
        generated: bool = True,
        density: LaplaceDensity | None = None,
        initial_distance: Positive = 0.05,
    ):
        super().__init__(features, len(PLANES), hidden, degrees, generated, density, initial_distance)
        self.resolution = resolution

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {"planes": (3 * self.resolution**2, self.channels), **self._generated_shapes()}

    def features(self, points: Tensor, params: Params) -> Tensor:
        r = self.resolution
        planes = params["planes"].reshape(-1, r, r, self.channels).permute(0, 3, 1, 2)  # (B · 3, F, U, V)
        where = torch.stack([points[..., [v, u]] for u, v in PLANES], 1)  # (B, 3, N, 2)
        where = where.flatten(0, 1)[:, None].to(planes.dtype)  # (B · 3, 1, N, 2)
        read = F.grid_sample(planes, where, padding_mode="border", align_corners=False)  # (B · 3, F, 1, N)
        return read[:, :, 0].unflatten(0, (-1, 3)).permute(0, 3, 1, 2)  # (B, N, 3, F)
