"""Writes one-second sounds of six kinds as sample shards: python -m examples.sound.make_sounds shards/sounds"""

import sys
from collections import Counter

import numpy as np
from examples.sound.sound import RATE, SOUND

from fieldforge.data.manifest import write_manifest
from fieldforge.data.writer import ShardWriter

KINDS = ("bar", "pluck", "bell", "siren", "noise", "chirp")


def wave(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A sound (RATE,) of random pitch, its peak at 0.9."""
    t = np.arange(RATE) / RATE
    pitch = rng.uniform(150, 300)  # Hz
    if kind == "pluck":  # Karplus & Strong 1983, "Digital synthesis of plucked-string and drum timbres"
        ring = rng.uniform(-1, 1, int(RATE / pitch))
        samples = np.empty(RATE)
        for i in range(RATE):
            samples[i] = ring[0]
            ring = np.append(ring[1:], 0.498 * (ring[0] + ring[1]))
    elif kind == "siren":
        samples = np.sin(2 * np.pi * (pitch * t - 20 * np.cos(2 * np.pi * rng.uniform(1, 3) * t)))
    elif kind == "noise":
        samples = rng.normal(size=RATE) * np.exp(-t / rng.uniform(0.05, 0.2))
    elif kind == "chirp":
        samples = np.sin(2 * np.pi * (pitch * t + rng.uniform(200, 600) * t**2))
    else:
        partials, decay = ((1, 2.756, 5.404), 0.15) if kind == "bar" else ((0.5, 1, 1.2, 1.5, 2), 0.5)
        samples = sum(np.sin(2 * np.pi * pitch * p * t) * np.exp(-t * p / decay) for p in partials)
    return (0.9 * samples / np.abs(samples).max()).astype(np.float32)


def make(folder: str, count: int = 360, seed: int = 0) -> None:
    rng, entries = np.random.default_rng(seed), []
    for split, size in (("train", count * 5 // 6), ("heldout", count // 6)):
        with ShardWriter(folder, SOUND, {"seed": seed, "count": count}, 128, split) as writer:
            for number in range(size):
                kind = KINDS[number % len(KINDS)]
                key = f"{split}-{number:04d}"
                texts = {"id": key, "name": f"{kind} {number}", "class": kind, "captions": [kind], "split": split}
                origin = {"tags": [], "source": "synthesised", "licence": "CC0-1.0", "creator": "make_sounds.py"}
                meta = {**texts, **origin, "captions_by_language": {}}
                writer.write(key, {"meta.json": meta, "wave.npy": wave(kind, rng)})
        entries += writer.entries
    classes = dict(Counter(KINDS[number % len(KINDS)] for number in range(count * 5 // 6)))
    write_manifest(folder, SOUND, {"seed": seed, "count": count}, entries, {"classes": classes})


if __name__ == "__main__":
    make(sys.argv[1], *map(int, sys.argv[2:]))
