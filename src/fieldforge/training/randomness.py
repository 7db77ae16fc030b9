"""One explicit generator for each training step, so that nothing random has to be saved."""

from __future__ import annotations

import hashlib

import torch


def step_generator(
    seed: int, step: int, rank: int = 0, device: torch.device | str = "cpu", purpose: str = "step"
) -> torch.Generator:
    """A generator that is a pure function of its arguments.

    A resumed run draws in step k what the uninterrupted one drew in step k. `purpose` separates streams of numbers that
    belong to the same step (training, validation, pictures).
    """
    digest = hashlib.blake2b(f"{purpose}:{seed}:{step}:{rank}".encode(), digest_size=8).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big") >> 1)
