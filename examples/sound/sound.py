"""Sounds as a domain: schema, transform, outputs, measures. One second, mono; time runs over [-1, 1]."""

import io
import wave
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fieldforge.data.schema import FieldSpec, Schema
from fieldforge.data.schemas import register
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError

RATE = 4000  # samples of one sound
SOUND = register(Schema("sound", 1, (FieldSpec("meta.json"), FieldSpec("wave.npy", "float32", (RATE,), limit=1.0))))


class Wave:
    """`input (L,)`: the sound, as stored."""

    def __call__(self, sample, generator):
        return {"input": sample["wave.npy"]}


def spectrum(sound: np.ndarray) -> np.ndarray:
    """Log-magnitudes (frames, 129) of a sound (L,), in windows of 256 samples."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 256)[::128] * np.hanning(256)
    return np.log1p(np.abs(np.fft.rfft(frames)))


class Sounds:
    """B sounds (B, L)."""

    is_empty = False

    def __init__(self, waves: np.ndarray):
        self.waves = waves

    def __len__(self):
        return len(self.waves)

    def __getitem__(self, index):
        return Sounds(self.waves[index : index + 1])

    def picture(self, size):
        """Spectrogram: time to the right, frequency upwards."""
        loudness = spectrum(self.waves[0]).T[::-1] / 4
        return Image.fromarray((255 * loudness.clip(0, 1)).astype(np.uint8)).convert("RGBA").resize((size, size))

    def media(self):
        buffer = io.BytesIO()
        self.encode(buffer)
        return "audio/wav", buffer.getvalue()

    def write(self, folder: Path, name: str):
        with (folder / f"{name}.wav").open("wb") as file:
            self.encode(file)
        return {"wav": f"{name}.wav"}

    def encode(self, stream):
        """The first sound as WAV, 16 bits."""
        with wave.open(stream, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(len(self.waves[0]))
            file.writeframes((self.waves[0].clip(-1, 1) * 32767).astype("<i2").tobytes())


class SoundDomain(Domain):
    """Sounds of `resolution` samples; judged by their spectra."""

    noun = "sound"
    schema, dimensions, heads, shown_measures = SOUND, 1, frozenset({"pressure"}), ("snr",)

    def __init__(self, resolution: int = RATE):
        self.resolution = resolution

    def example(self):
        texts = dict.fromkeys(("id", "name", "class", "source", "licence", "creator", "split"), "")
        meta = {**texts, "captions": ["a"], "captions_by_language": {}, "tags": []}
        return {"meta.json": meta, "wave.npy": np.zeros(RATE, np.float32)}

    def input_transforms(self):
        return [Wave()]

    def truth_transforms(self):
        return []

    def outputs(self, field, params, resolution=None):
        # A sheet's resolution is too coarse for a sound.
        count, batch = max(self.resolution, resolution or 0), len(next(iter(params.values())))
        points = torch.linspace(-1, 1, count, device=next(iter(params.values())).device).expand(batch, count)
        return Sounds(field.query(points[..., None], params)["pressure"].cpu().numpy())

    def compare(self, outputs, truth, size):
        true = Sounds(truth["input"].numpy())
        return [[true[i].picture(size), outputs[i].picture(size)] for i in range(len(outputs))]

    def measure(self, output, truth):
        true, error = truth["input"][0].numpy(), output.waves[0] - truth["input"][0].numpy()
        distance = np.abs(spectrum(output.waves[0]) - spectrum(true)).mean()
        return {"snr": float(10 * np.log10((true**2).sum() / (error**2).sum())), "spectral_l1": float(distance)}

    def signatures(self, outputs):
        return [spectrum(sound) for sound in outputs.waves]

    def stored_signatures(self, batch):
        return [spectrum(sound) for sound in batch["input"].numpy()]

    def nearest(self, these, those):
        return np.array([np.argmin([self.distance(this, that) for that in those]) for this in these])

    def distance(self, this, that):
        """Mean difference of sorted frames' spectra: what sounds, not when."""
        return float(np.abs(this.mean(0) - that.mean(0)).mean() + np.abs(this.mean(1) - that.mean(1)).mean())

    def read_file(self, path: Path, seed: int):
        try:
            with wave.open(str(path)) as file:
                sound = np.frombuffer(file.readframes(RATE), "<i2").astype(np.float32) / 32768
        except (OSError, wave.Error, EOFError) as error:
            raise UserError(f"from={path}: no WAV file that can be read ({error}), give another") from error
        return torch.from_numpy(np.resize(sound, RATE))[None]
