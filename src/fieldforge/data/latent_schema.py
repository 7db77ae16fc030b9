"""Shards of a model's outputs for samples: latents, and features of frozen encoders.

T latent tokens, C latent channels; E captions or views, F and G channels, L tokens of features.
"""

import numpy as np

from fieldforge.data.schema import FieldSpec, Schema


def _masks(masks: np.ndarray) -> str | None:
    return None if masks.any(1).all() else "masks a row of tokens as a whole"


LATENT = Schema(
    name="latent",
    version=1,
    fields=(FieldSpec("meta.json"), FieldSpec("latent.npy", "float32", ("T", "C"))),
    alike="TC",
)

EMBEDDING = Schema(
    name="embedding",
    version=1,
    fields=(
        FieldSpec("meta.json"),
        FieldSpec("vector.npy", "float16", ("E", "F"), optional=True),
        FieldSpec("tokens.npy", "float16", ("E", "L", "G"), optional=True),
        FieldSpec("mask.npy", "uint8", ("E", "L"), optional=True, fault=_masks),
    ),
    rows="E",
    alike="FG",
)
"""What a frozen encoder says of the E captions or views of a sample, which `meta.json` lists under `rows`."""
