"""The settings that say where a command computes and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Matmul = Literal["auto", "highest", "high", "medium"]
"""`torch.set_float32_matmul_precision`; auto: medium where bfloat16 is faster, else highest."""


@dataclass(frozen=True)
class ComputationSettings:
    """Device of a command that samples or measures, and how a denoiser computes there.

    Args:
        device: of the computation; "auto": a GPU if there is one.
        precision: of the denoiser; "auto": bf16-mixed on a GPU that has bfloat16, else 32-true.
        matmul: of the denoiser's products in float32; "auto": medium on a GPU that has bfloat16, else highest.
        compile: compile the denoiser's transformer blocks with torch.compile.
    """

    device: str
    precision: Literal["auto", "32-true", "bf16-mixed"]
    matmul: Matmul
    compile: bool
