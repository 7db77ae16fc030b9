"""How networks compute: the type of their products, and compiled blocks. Trainings and samplers share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from fieldforge.errors import UserError
from fieldforge.nn.blocks import Block


@dataclass(frozen=True)
class Arithmetic:
    """How the networks of a sampler compute. What is around them, and the decoder, stay in whole float32.

    Args:
        device: type of their device.
        precision: 32-true, or bf16-mixed: products in bfloat16, sums over channels and samples in float32.
        matmul: `torch.set_float32_matmul_precision` for products in float32.
        compile: whether blocks are compiled.
    """

    device: str
    precision: str
    matmul: str
    compile: bool

    def facts(self) -> dict[str, str]:
        """For reports: what differs from whole float32."""
        values = {"precision": (self.precision, "32-true"), "matmul": (self.matmul, "highest")}
        return {key: value for key, (value, whole) in values.items() if value != whole}

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Around all evaluations of a sample: weights that they round are kept rounded in between."""
        with torch.autocast(self.device, enabled=False) if self._rounds else nullcontext():
            yield

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Around an evaluation of networks. UserError where blocks cannot be compiled."""
        rounded = torch.autocast(self.device, torch.bfloat16) if self._rounds else nullcontext()
        with needs_compiler("compile") if self.compile else nullcontext(), products(self.matmul), rounded:
            yield

    @property
    def _rounds(self) -> bool:
        return self.precision == "bf16-mixed"


@contextmanager
def products(matmul: str) -> Iterator[None]:
    """Inside this context `matmul` is torch's precision of products in float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(matmul)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def compile_blocks(network: nn.Module) -> None:
    """Compiles the transformer blocks of a network, each when it is first called."""
    for part in network.modules():
        if isinstance(part, Block):
            part.compile()


@contextmanager
def needs_compiler(key: str) -> Iterator[None]:
    """Inside this context a failure of torch's compiler is a UserError about the setting `key`."""
    try:
        yield
    except RuntimeError as error:
        if type(error).__module__ != "torch._inductor.exc":  # not imported here: that takes a second
            raise
        raise UserError(
            f"{key}=true: torch cannot compile here ({str(error).splitlines()[0]}): install a C++ compiler for a CPU "
            f"or triton for a GPU, or set {key}=false"
        ) from error
