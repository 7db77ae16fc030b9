"""An autoencoder of clips: a picture's, frame by frame, whose decoder mixes neighbouring frames.

B clips, V frames, H = W pixels, h = w cells of a frame's latents, T = V · h · w.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder, Batch
from fieldforge.autoencoder.bottleneck import Terms
from fieldforge.autoencoder.on_base import OnBase
from fieldforge.autoencoder.pictures import PictureDecoder
from fieldforge.fields.base import Params
from fieldforge.fields.clip_grid import ClipGrid
from fieldforge.fields.picture import PictureGrid
from fieldforge.nn.convolution import ChannelNorm, PixelLinear, ResidualConvolution
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Count


class FrameConvolution(nn.Module):
    """x + convolution of SiLU(norm(x)) over three frames, pixel by pixel: (B · V, W, H, W') → the same.

    Beyond the first and the last frame these are repeated. The convolution starts at zero, the module as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.mix = ChannelNorm(channels), PixelLinear(3 * channels, channels)
        nn.init.zeros_(self.mix.weight)
        assert self.mix.bias is not None
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        here = F.silu(self.norm(x)).unflatten(0, (-1, frames))  # (B, V, W, H, W')
        before = torch.cat([here[:, :1], here[:, :-1]], 1)
        after = torch.cat([here[:, 1:], here[:, -1:]], 1)
        return x + self.mix(torch.cat([before, here, after], 2).flatten(0, 1))


class TemporalLayers(nn.Module):
    """A frame convolution after each residual convolution of a picture decoder and after its middle.

    Stable Video Diffusion (Blattmann et al. 2023, arXiv 2311.15127), section 3.1, after Align your Latents (arXiv
    2304.08818), section 3.1.1: a decoder of pictures flickers, and layers over time learn to still it.
    """

    def __init__(self, decoder: PictureDecoder):
        super().__init__()
        self.after_middle = FrameConvolution(decoder.from_latent.out_channels)
        self.within = nn.ModuleDict(
            {
                str(place): FrameConvolution(len(module.change[0].gain))  # type: ignore[arg-type]
                for place, module in enumerate(decoder.up)
                if isinstance(module, ResidualConvolution)
            }
        )

    def forward(self, decoder: PictureDecoder, latents: Tensor, frames: int) -> Tensor:
        """latents (B · V, h · w, C) through the decoder, with these layers between its own → (B · V, 3, H, W)."""
        grid = latents.transpose(1, 2).unflatten(2, (decoder.cells, decoder.cells))  # (B · V, C, h, w)
        x = self.after_middle(decoder.middle(decoder.from_latent(grid)), frames)
        for place, module in enumerate(decoder.up):
            x = module(x)
            if str(place) in self.within:
                x = self.within[str(place)](x, frames)
        return decoder.rows(x, grid)


class ClipAutoencoder(OnBase):
    """A picture autoencoder on each frame; only layers over time in its decoder are trained.

    A frame's latents are those of the picture, so that a denoiser of pictures knows them. The statistics of latents are
    those of the base. A clip may have any number of frames.

    Args:
        base: with a `PictureDecoder` to a `PictureGrid`.
        frames: V of the latents that later stages see.
    """

    unit_variance = False
    keeps_latents = True
    base: Autoencoder
    field: ClipGrid

    def __init__(self, base: Autoencoder, frames: Count):
        nn.Module.__init__(self)
        if not isinstance(base.decoder, PictureDecoder) or not isinstance(base.field, PictureGrid):
            raise ValueError("ClipAutoencoder: the base must be an autoencoder of pictures with pixels, such as kl")
        shape = base.latent_shape
        assert shape.grid is not None, "pictures have a grid"
        self.base = base.requires_grad_(False)
        self.latent_shape = LatentShape(frames * shape.tokens, shape.channels, (frames, *shape.grid))
        self.field = ClipGrid(base.field.size, frames)
        self.over_time = TemporalLayers(base.decoder)
        self.register_statistics(shape.channels)

    def forward(self, batch: Batch, randomness: Randomness | None = None) -> tuple[Params, Terms]:
        return self.decode(self.encode(batch)), {}

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """`input` (B, V, 3, H, W) → latents (B, V · h · w, C)."""
        clips = batch[self.reads[0]]
        latents = self.base.encode({self.reads[0]: clips.flatten(0, 1)})  # (B · V, h · w, C)
        return latents.unflatten(0, clips.shape[:2]).flatten(1, 2)

    def decode(self, latents: Tensor) -> Params:
        return self.field_params(latents)

    def field_params(self, latents: Tensor) -> Params:
        """latents (B, V · h · w, C) as `encode` gives them, of any V → `pixels` (B, V · H · W, 3)."""
        base, tokens = self.base, self.base.latent_shape.tokens
        assert isinstance(base.decoder, PictureDecoder)
        frames = latents.shape[1] // tokens
        flat = latents.unflatten(1, (frames, tokens)).flatten(0, 1)  # (B · V, h · w, C)
        pixels = self.over_time(base.decoder, base.bottleneck.restore(base.own_units(flat)), frames)
        return {"pixels": pixels.flatten(2).transpose(1, 2).unflatten(0, (-1, frames)).flatten(1, 2)}
