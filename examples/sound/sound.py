"""Sounds as a domain: schema, transform, outputs, measures. One second, mono; time runs over [-1, 1]."""

import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from examples.sound.autoencoder import BINS, loudness, missed_share
from PIL import Image
from scipy.spatial.distance import cdist

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


@dataclass
class Sounds:
    """B sounds."""

    waves: torch.Tensor  # (B, L)
    is_empty = False

    def __len__(self):
        return len(self.waves)

    def __getitem__(self, index):
        return Sounds(self.waves[index : index + 1])

    def picture(self, size):
        """Spectrogram: time to the right, frequency upwards."""
        drawn = loudness(self.waves)[0].T.flip(0).numpy() / 4
        return Image.fromarray((255 * drawn.clip(0, 1)).astype(np.uint8)).convert("RGBA").resize((size, size))

    def media(self):
        return "audio/wav", self.wav()

    def write(self, folder: Path, name: str):
        (folder / f"{name}.wav").write_bytes(self.wav())
        return {"wav": f"{name}.wav"}

    def wav(self):
        """The first sound as WAV, 16 bits."""
        content = io.BytesIO()
        with wave.open(content, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(len(self.waves[0]))
            file.writeframes((self.waves[0].clamp(-1, 1) * 32767).numpy().astype("<i2").tobytes())
        return content.getvalue()


class SoundDomain(Domain):
    """Sounds of `resolution` samples; judged by their spectra, as phases are not heard."""

    noun = "sound"
    schema, dimensions, heads, shown_measures = SOUND, 1, frozenset({"pressure"}), ("missed",)

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
        count, rows = max(self.resolution, resolution or 0), next(iter(params.values()))  # sheets ask for too few
        points = torch.linspace(-1, 1, count, device=rows.device).expand(len(rows), count)
        return Sounds(field.query(points[..., None], params)["pressure"].cpu())

    def compare(self, outputs, truth, size):
        return [[Sounds(truth["input"])[i].picture(size), outputs[i].picture(size)] for i in range(len(outputs))]

    def measure(self, output, truth):
        true, rebuilt = loudness(truth["input"]), loudness(output.waves)
        return {"missed": float(missed_share(rebuilt, true)), "loudness": float((rebuilt - true).abs().mean())}

    def signatures(self, outputs):
        return self.stored_signatures({"input": outputs.waves})

    def stored_signatures(self, batch):
        """What sounds and when: loudness of each frequency and of each frame."""
        known = loudness(batch["input"])
        return list(torch.cat([known.mean(1) / BINS, known.mean(2) / known.shape[1]], 1).numpy())

    def nearest(self, these, those):
        return cdist(these, those, "cityblock").argmin(1)

    def distance(self, this, that):
        return float(np.abs(this - that).sum())

    def read_file(self, path: Path, seed: int):
        try:
            with wave.open(str(path)) as file:
                sound = np.frombuffer(file.readframes(RATE), "<i2").astype(np.float32) / 32768
        except (OSError, wave.Error, EOFError) as error:
            raise UserError(f"from={path}: no WAV file that can be read ({error}), give another") from error
        return {"input": torch.from_numpy(np.resize(sound, RATE))[None]}
