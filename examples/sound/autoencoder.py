"""Sound → tokens → the loudness of short-time spectra, a field that finds the phases when it is read."""

import torch
from torch import nn

from fieldforge.fields.base import Field
from fieldforge.nn.latent_shape import LatentShape

WINDOW, HOP, BINS = 256, 64, 129  # samples of a frame, samples between frames, frequencies
LOUDEST = 6.0  # more than a sound in -1…1 can be


def spectrum(sounds):
    """(B, L) → complex (B, BINS, frames)."""
    return torch.stft(sounds, WINDOW, HOP, window=torch.hann_window(WINDOW).to(sounds), return_complex=True)


def loudness(sounds):
    """(B, L) → ln(1 + magnitude) (B, frames, BINS)."""
    return spectrum(sounds.float()).abs().log1p().transpose(1, 2)


class SpectrumField(Field):
    """Loudness of frames over [-1, 1], as a sound of `samples` values that is read linearly between them. Its phases
    are found by `rounds` of the algorithm of Perraudin et al. 2013, "A fast Griffin-Lim algorithm": latents that hold
    phases are hard to generate, as they agree to a fraction of a period or sound wrong.
    """

    dimensions, heads = 1, {"pressure": 0}

    def __init__(self, samples: int = 4000, rounds: int = 32, momentum: float = 0.99):
        super().__init__()
        self.samples, self.rounds, self.momentum = samples, rounds, momentum

    @property
    def param_shapes(self):
        return {"loudness": (self.samples // HOP + 1, BINS)}

    def query(self, points, params):
        self.check(params)
        place = (points[..., 0] + 1) / 2 * (self.samples - 1)  # (B, N)
        low = place.long().clamp(0, self.samples - 2)
        known = self.sounds(params["loudness"])
        return {"pressure": torch.lerp(known.gather(1, low), known.gather(1, low + 1), place - low)}

    def sounds(self, loudness):
        """(B, frames, BINS) → (B, samples)."""
        magnitude = loudness.float().clamp(0, LOUDEST).expm1().transpose(1, 2)  # (B, BINS, frames)
        angle = 2 * torch.pi * torch.rand(magnitude.shape[1:], generator=torch.Generator().manual_seed(0))
        phase, before, window = torch.exp(1j * angle).to(magnitude.device), 0, torch.hann_window(WINDOW).to(magnitude)
        for _ in range(self.rounds):
            sounds = torch.istft(magnitude * phase, WINDOW, HOP, window=window, length=self.samples)
            now = spectrum(sounds)
            ahead, before = now + self.momentum * (now - before), now
            phase = ahead / ahead.abs().clamp(min=1e-9)
        return sounds


class SpectrumEncoder(nn.Module):
    """Sounds (B, L) → (B, frames, channels)."""

    def __init__(self, width: int = 128, channels: int = 16, samples: int = 4000):
        super().__init__()
        self.latent_shape = LatentShape(samples // HOP + 1, channels, (samples // HOP + 1,))
        self.layers = convolutions(BINS, width, channels)

    def forward(self, sounds):
        return self.layers(loudness(sounds).transpose(1, 2)).transpose(1, 2)


class SpectrumDecoder(nn.Module):
    """The reverse: latents (B, T, C) → `loudness` (B, T, BINS)."""

    def __init__(self, tokens: int, channels: int, param_shapes: dict, width: int = 128):
        super().__init__()
        self.layers = convolutions(channels, width, BINS)

    def forward(self, latents):
        return {"loudness": self.layers(latents.transpose(1, 2)).transpose(1, 2)}


def convolutions(inputs, width, outputs):
    """(B, inputs, T) → (B, outputs, T)."""
    first, second = nn.Conv1d(inputs, width, 3, padding=1), nn.Conv1d(width, width, 3, padding=1)
    return nn.Sequential(first, nn.GELU(), second, nn.GELU(), nn.Conv1d(width, outputs, 1))


def missed_share(rebuilt, truth):
    """Of loudness (B, frames, BINS): the error's share of the magnitudes (B,) (Arık et al. 2018: convergence)."""
    error = rebuilt.clamp(max=LOUDEST).expm1() - truth.expm1()
    return error.flatten(1).norm(dim=1) / truth.expm1().flatten(1).norm(dim=1).clamp(min=1e-3)


class SpectrumLoss:
    """L1 of loudness, and of the magnitudes, which peaks decide, the share that is missed."""

    def __call__(self, autoencoder, batch, randomness):
        truth, rebuilt = loudness(batch["input"]), autoencoder(batch, randomness)[0]["loudness"].float()
        terms = {"loudness": (rebuilt - truth).abs().mean(), "missed": missed_share(rebuilt, truth).mean()}
        return terms["loudness"] + 0.2 * terms["missed"], {name: term.detach() for name, term in terms.items()}
