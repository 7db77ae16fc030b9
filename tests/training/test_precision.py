"""What `trainer.precision=auto` and `trainer.matmul=auto` mean: bfloat16 where it is measured to be the faster one."""

import platform

import pytest
import torch

from fieldforge.training.processes import precision
from fieldforge.training.processes.hardware import Hardware
from fieldforge.training.processes.precision import best_precision


@pytest.fixture
def cpu(monkeypatch):
    """A CPU with bfloat16 instructions; call it with the seconds of a product in float32 and in bfloat16."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)

    def of_seconds(exact: float, short: float) -> None:
        monkeypatch.setattr(precision, "_seconds", lambda x, _: short if x.dtype == torch.bfloat16 else exact)

    precision._cpu_gains.cache_clear()
    yield of_seconds
    precision._cpu_gains.cache_clear()


@pytest.mark.parametrize(
    ("exact", "short", "expected"),
    [(2.0, 1.0, ("bf16-mixed", "medium")), (1.0, 2.0, ("32-true", "highest")), (1.1, 1.0, ("32-true", "highest"))],
)
def test_the_faster_one_is_taken(cpu, exact, short, expected):
    cpu(exact, short)
    before = torch.get_float32_matmul_precision()
    with Hardware(accelerator="cpu").products():
        assert (best_precision(gpu=False), torch.get_float32_matmul_precision()) == expected
    assert torch.get_float32_matmul_precision() == before


def test_a_cpu_without_the_instructions_is_not_measured(cpu, monkeypatch):
    cpu(2.0, 1.0)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert best_precision(gpu=False) == "32-true"


def test_a_gpu_says_what_it_has(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert best_precision(gpu=True) == ("bf16-mixed" if has else "32-true")


def test_products_are_measured_in_processor_time(monkeypatch):
    ticks = iter([10.0, 10.5])
    monkeypatch.setattr(precision.time, "process_time", lambda: next(ticks))
    assert precision._seconds(torch.ones(2, 3), torch.ones(4, 3)) == 0.5
