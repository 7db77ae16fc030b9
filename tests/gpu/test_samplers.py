"""Every sampler draws on a GPU what it draws on a CPU."""

import pytest
import torch
from tests.device.test_evaluations import SAMPLERS, SHAPE, generator
from tests.gpu.conftest import DEVICE
from torch import Tensor

from fieldforge.generation import Generator
from fieldforge.nn.arithmetic import Arithmetic

CPU = torch.device("cpu")


def on(device: torch.device, sampler: str) -> Generator:
    own = generator(sampler, "classifier_free", device)
    torch.manual_seed(0)
    for weight in own.model.parameters():
        weight.data.copy_(0.1 * torch.randn(weight.shape))
    return own


def drawn(own: Generator) -> Tensor:
    return own({"class": ["a", "b"]}, [3, 7], 2.0).cpu()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_those_of_a_cpu(sampler: str) -> None:
    exact, here = drawn(on(CPU, sampler)), drawn(on(DEVICE, sampler))
    assert exact.shape == (2, *SHAPE[:2])
    assert exact.isfinite().all()
    torch.testing.assert_close(here, exact, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_samples_of_every_arithmetic_are_near(precision: str, compiled: bool) -> None:
    exact = drawn(on(CPU, "unipc"))
    near = drawn(on(DEVICE, "unipc").computed(Arithmetic(DEVICE.type, precision, "high", compiled)))
    assert (near - exact).square().mean().sqrt() < 0.02 * exact.std()
