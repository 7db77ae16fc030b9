"""Sound → tokens → the samples of a field that is read between them."""

import torch
from torch import nn

from fieldforge.fields.base import Field
from fieldforge.nn.latent_shape import LatentShape


class WaveField(Field):
    """`samples` values over [-1, 1], read linearly at any time."""

    dimensions, heads = 1, {"pressure": 0}

    def __init__(self, samples: int = 4000):
        super().__init__()
        self.samples = samples

    @property
    def param_shapes(self):
        return {"samples": (self.samples, 1)}

    def query(self, points, params):
        self.check(params)
        place = (points[..., 0] + 1) / 2 * (self.samples - 1)  # (B, N)
        low = place.floor().clamp(0, self.samples - 2)
        known = params["samples"][..., 0]  # (B, samples)
        start, end = known.gather(1, low.long()), known.gather(1, low.long() + 1)
        return {"pressure": torch.lerp(start, end, place - low)}


class WaveEncoder(nn.Module):
    """Strided convolutions: (B, L) → (B, L / stride, channels)."""

    def __init__(self, width: int = 64, channels: int = 12, samples: int = 4000, stride: int = 25):
        super().__init__()
        self.latent_shape = LatentShape(samples // stride, channels, (samples // stride,))
        self.layers = nn.Sequential(
            nn.Conv1d(1, width, stride, stride), nn.GELU(),
            nn.Conv1d(width, width, 5, padding=2), nn.GELU(), nn.Conv1d(width, channels, 1),
        )  # fmt: skip

    def forward(self, sounds):
        return self.layers(sounds[:, None]).transpose(1, 2)


class WaveDecoder(nn.Module):
    """The reverse: latents (B, T, C) → `samples` (B, L, 1)."""

    def __init__(self, tokens: int, channels: int, param_shapes: dict, width: int = 64):
        super().__init__()
        stride = param_shapes["samples"][0] // tokens
        self.layers = nn.Sequential(
            nn.Conv1d(channels, width, 5, padding=2), nn.GELU(),
            nn.Conv1d(width, width, 5, padding=2), nn.GELU(), nn.ConvTranspose1d(width, 1, stride, stride),
        )  # fmt: skip

    def forward(self, latents):
        return {"samples": self.layers(latents.transpose(1, 2)).transpose(1, 2)}


class WaveLoss:
    """L1 of the samples and of their magnitudes in short windows."""

    def __call__(self, autoencoder, batch, randomness):
        sounds = batch["input"]  # (B, L)
        made = autoencoder(sounds, randomness)[0]["samples"][..., 0]  # (B, L)
        window = torch.hann_window(256, device=sounds.device)
        short = [torch.stft(one, 256, 64, window=window, return_complex=True).abs().log1p() for one in (made, sounds)]
        terms = {"samples": (made - sounds).abs().mean(), "spectrum": (short[0] - short[1]).abs().mean()}
        return 5 * terms["samples"] + terms["spectrum"], {name: term.detach() for name, term in terms.items()}
