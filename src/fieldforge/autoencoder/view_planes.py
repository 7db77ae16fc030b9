"""Pictures with their cameras → latents in three planes: a reconstructor, as an encoder.

Letters: V views of a sample, n = B · V, c cells and r points along an axis of the box, S pixels along a side of the
pictures that the network sees, t patches along it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.autoencoder.encoders import RandomEncoder
from fieldforge.autoencoder.lifting import SEEN, lattice, lifted_frustums, lifted_pixels, places_in_views
from fieldforge.autoencoder.planes import PATCH, Waist, to_tokens
from fieldforge.conditioning.image_encoder import ImageEncoder
from fieldforge.fields.lattice import PLANES
from fieldforge.nn.convolution import ChannelNorm, NormedConvolution, PixelLinear, ResidualConvolution
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.nn.linear import pass_through
from fieldforge.nn.transformer import Transformer
from fieldforge.noise.randomness import Randomness, normal
from fieldforge.ranges import Count, NotNegative, Whole

GIVEN = ("given_rgba", "given_cameras", "given_fov", "given_mask")
CAMERA = 13  # numbers of a camera: the upper rows of its pose, tan(fov / 2)
CAMERA_NOISE = 0.02  # deviation of these in training, as LRM has it
STEM = 4  # pixels along a side of what becomes one pixel of features
LOOK = 4  # what is handed around the network: inside, colour
LEAST = 1e-3  # share of a pillar that silhouettes enclose, from which on it has a colour


class ViewFeatures(nn.Module):
    """Pictures → features of their pixels (n, C, S / 4, S / 4), and in their frustums (n, C, D, S / 4, S / 4).

    Convolutions keep what is local; beside them a transformer over the patches of a view, modulated by its camera
    (adaLN, as in LRM, Hong et al. 2023, arXiv 2311.04400, section 3.1), tells what is seen. Its patches are learned, or
    the tokens of a frozen image encoder are added to them. One picture does not tell depths: the network says for each
    pixel what is at D depths of its ray.

    Args:
        pixels: S.
        channels, depths: C and D.
        width, heads, layers: of the transformer.
        convolution_width: of the local features.
        frozen: image encoder whose tokens are added; None: learned patches alone.
    """

    def __init__(
        self,
        pixels: int,
        channels: int,
        depths: int,
        width: int,
        heads: int,
        layers: int,
        convolution_width: int,
        frozen: ImageEncoder | None,
    ):
        super().__init__()
        self.depths, self.frozen = depths, frozen
        self.patches = pixels // (4 * STEM)
        self.stem = nn.Sequential(nn.Conv2d(4, convolution_width, STEM, STEM), ResidualConvolution(convolution_width))
        self.down = nn.Sequential(
            NormedConvolution(convolution_width, 2 * convolution_width, stride=2),
            NormedConvolution(2 * convolution_width, width, stride=2),
        )
        self.positions = nn.Parameter(torch.randn(self.patches**2, width) * 0.02)
        self.embed_camera = nn.Sequential(nn.Linear(CAMERA, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_frozen = None if frozen is None else nn.Linear(frozen.token_width, width)
        self.transformer = Transformer(width, heads, layers, vector_width=width)
        self.norm = nn.LayerNorm(width)
        self.up = PixelLinear(width, convolution_width)
        self.to_features = NormedConvolution(convolution_width, channels * (1 + depths))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """pictures (n, 4, S, S) premultiplied, cameras (n, 13) → features of pixels, features in frustums."""
        local = self.stem(2 * pictures - 1)  # (n, convolution width, S / 4, S / 4)
        tokens = self.down(local).flatten(2).transpose(1, 2) + self.positions  # (n, t², width)
        if self.embed_frozen is not None:
            tokens = tokens + self.frozen_tokens(pictures)
        tokens = self.norm(self.transformer(tokens, self.embed_camera(cameras)))
        wide = self.up(tokens.transpose(1, 2).unflatten(2, (self.patches, self.patches)))
        wide = F.interpolate(wide, local.shape[-2:], mode="bilinear", align_corners=False)
        features = self.to_features(local + wide).float().unflatten(1, (-1, 1 + self.depths))
        return features[:, :, 0], features[:, :, 1:]

    def frozen_tokens(self, pictures: Tensor) -> Tensor:
        """Tokens of the frozen encoder, of pictures (n, 4, S, S) over white, at the patches: (n, t², width)."""
        assert self.frozen is not None
        assert self.embed_frozen is not None
        size = (self.frozen.size, self.frozen.size)
        white = (pictures[:, :3] + 1 - pictures[:, 3:]).detach()
        tokens = self.frozen.encode(F.interpolate(white, size, mode="bilinear", antialias=True).clamp(0, 1)).tokens
        assert tokens is not None
        tokens = self.embed_frozen(tokens.clone().float())  # (n, L, width); a clone may be kept for a gradient
        side = math.isqrt(tokens.shape[1])
        grid = tokens[:, -(side**2) :].transpose(1, 2).unflatten(2, (side, side))  # (a class token stands before)
        there = F.interpolate(grid, (self.patches, self.patches), mode="bilinear", align_corners=False)
        return there.flatten(2).transpose(1, 2)


class ViewPlanesEncoder(RandomEncoder):
    """Pictures of 1 … V views with their cameras → the latents of three planes.

    Each point of a lattice reads the views where they see it (`lifted_pixels`, and at half the resolution
    `lifted_frustums`); a linear map makes a pixel of a plane of all points before and behind it; the planes then see
    each other in a `Waist`, as those of `PointPlanesEncoder` do. All views of a sample are averaged at a point, so that
    any number of them may be given. Cameras need no particular frame but the box's: the latents are in the pose in
    which the cameras see the shape.

    LRM's queries would have to learn from data where a patch of a picture is in space; here the cameras say so.

    A learnable shortcut hands what silhouettes enclose, and its colour, to the last latent channels.

    Args:
        cells: c, of the latents; points: r.
        pixels: S: pictures of other sizes are resized.
        features, depths: channels of what views say of a pixel, and at each of how many depths of its ray.
        point_width: channels of a point of the lattice.
        convolution_width: of the planes.
        width, heads, layers: of the planes' transformer.
        view_width, view_heads, view_layers: of the views' transformer.
        channels: of the latents.
        camera_noise: deviation of the numbers of a camera in training, where they modulate.
        frozen: image encoder of the room `conditioning` whose tokens the views' transformer gets besides; None: none.
    """

    reads = GIVEN

    def __init__(
        self,
        cells: Count = 16,
        points: Count = 32,
        pixels: Count = 128,
        features: Count = 8,
        depths: Count = 16,
        point_width: Count = 16,
        convolution_width: Count = 32,
        width: Count = 256,
        heads: Count = 4,
        layers: Whole = 3,
        view_width: Count = 128,
        view_heads: Count = 4,
        view_layers: Whole = 2,
        channels: Count = 16,
        camera_noise: NotNegative = CAMERA_NOISE,
        frozen: ImageEncoder | None = None,
    ):
        super().__init__()
        if cells % PATCH or points != 2 * cells:
            raise ValueError(
                f"ViewPlanesEncoder: cells={cells} is to be a multiple of {PATCH}, and points={points} twice it"
            )
        if pixels % (4 * STEM):
            raise ValueError(f"ViewPlanesEncoder: pixels={pixels} must be a multiple of {4 * STEM}")
        self.cells, self.points, self.pixels, self.camera_noise = cells, points, pixels, camera_noise
        self.latent_shape = LatentShape(3 * cells**2, channels)
        middle = 2 * convolution_width
        self.views = ViewFeatures(
            pixels, features, depths, view_width, view_heads, view_layers, convolution_width, frozen
        )
        self.embed = nn.Sequential(PixelLinear(SEEN + 2 * features, 2 * point_width), nn.GELU())
        self.to_point = PixelLinear(2 * point_width, point_width)
        self.to_planes = nn.ModuleList(nn.Linear(points * point_width, middle) for _ in PLANES)
        self.down = NormedConvolution(middle, 2 * middle, stride=2)
        self.waist = Waist(2 * middle, cells, width, heads, layers)
        self.to_latent = nn.Sequential(ChannelNorm(2 * middle), PixelLinear(2 * middle, channels))
        self.shortcut = pass_through(LOOK, channels)

    def forward(
        self, rgba: Tensor, cameras: Tensor, fov: Tensor, mask: Tensor, randomness: Randomness | None = None
    ) -> Tensor:
        """rgba (B, V, H, H, 4), cameras (B, V, 4, 4), fov (B, V), mask (B, V) → (B, T, C).

        In training the cameras that modulate get noise from `randomness`, without which it is a ValueError.
        """
        points = self.point_features(rgba, cameras, fov, mask, randomness)  # (B, 1 + 3 + …, r, r, r)
        seen, features = points.split([LOOK, points.shape[1] - LOOK], 1)
        planes = [
            to_plane(pillars(features, axes).flatten(3)) for to_plane, axes in zip(self.to_planes, PLANES, strict=True)
        ]  # (B, r, r, middle) each
        images = torch.stack(planes, 1).flatten(0, 1).permute(0, 3, 1, 2)  # (B · 3, middle, r, r)
        images, _ = self.waist(self.down(images))  # (B · 3, 2 · middle, c, c)
        return to_tokens(self.to_latent(images)) + self.shortcut(to_tokens(self.look(seen)))

    def point_features(
        self, rgba: Tensor, cameras: Tensor, fov: Tensor, mask: Tensor, randomness: Randomness | None
    ) -> Tensor:
        """What is inside of the silhouettes, its colour, and features: (B, 4 + point width, r, r, r)."""
        views = rgba.shape[1]
        straight = rgba.flatten(0, 1).permute(0, 3, 1, 2)  # (n, 4, H, H)
        pictures = torch.cat([straight[:, :3] * straight[:, 3:], straight[:, 3:]], 1)
        if pictures.shape[-2:] != (self.pixels, self.pixels):
            pictures = F.interpolate(pictures, (self.pixels, self.pixels), mode="bilinear", antialias=True)
        flat, volume = self.views(pictures, self.camera_numbers(cameras, fov, randomness).flatten(0, 1))
        at = [
            places_in_views(lattice(points, cameras.device), cameras.flatten(0, 1), fov.flatten(), mask.flatten())
            for points in (self.points, self.cells)
        ]
        small = F.avg_pool2d(pictures, 2)  # about a pixel for a point of the lattice
        seen = lifted_pixels(small, flat, at[0], views).unflatten(2, (self.points,) * 3)  # (B, SEEN + C, r, r, r)
        deep = lifted_frustums(volume, at[1], views).unflatten(2, (self.cells,) * 3)  # (B, features, c, c, c)
        deep = F.interpolate(deep, seen.shape[-3:], mode="trilinear", align_corners=False)
        features = self.to_point(self.embed(torch.cat([seen, deep], 1).flatten(3)))  # (B, point width, r, r²)
        inside = seen[:, :1]
        return torch.cat([inside, inside * seen[:, 1:4], features.unflatten(3, (self.points,) * 2)], 1)

    def camera_numbers(self, cameras: Tensor, fov: Tensor, randomness: Randomness | None) -> Tensor:
        """(B, V, 13), with noise in training."""
        numbers = torch.cat([cameras[..., :3, :].flatten(2), (fov / 2).tan()[..., None]], -1)
        if not self.training or not self.camera_noise:
            return numbers
        if randomness is None:
            raise ValueError("ViewPlanesEncoder draws noise of cameras in training, and needs randomness for it")
        return numbers + self.camera_noise * normal(numbers.shape, randomness).to(numbers)

    def look(self, seen: Tensor) -> Tensor:
        """What silhouettes enclose, and its mean colour in [-1, 1], 0 where they enclose nothing: (B · 3, 4, c, c).

        seen: inside, and inside times colour, (B, 4, r, r, r). A thin thing has the colour of a thick one: one that
        faded with the share of its pillar would be learned from large things alone.
        """
        planes = [pillars(seen, axes).mean(3).permute(0, 3, 1, 2) for axes in PLANES]  # (B, 4, r, r) each
        cells = F.avg_pool2d(torch.stack(planes, 1).flatten(0, 1), self.points // self.cells)
        inside, color = cells[:, :1], cells[:, 1:]
        return torch.cat([inside, (2 * color - inside) / inside.clamp(min=LEAST)], 1)


def pillars(values: Tensor, axes: tuple[int, int]) -> Tensor:
    """Values (B, C, r, r, r) of points by the pixel (u, v) of a plane with these axes: (B, r, r, r, C), depth third."""
    (rest,) = {0, 1, 2} - set(axes)
    return values.permute(0, 2 + axes[0], 2 + axes[1], 2 + rest, 1)
