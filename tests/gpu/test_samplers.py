"""Every sampler draws on a GPU what it draws on a CPU."""

import pytest
import torch
from tests.device.test_evaluations import SAMPLERS, SHAPE, generator
from tests.gpu.conftest import DEVICE


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_those_of_a_cpu(sampler: str) -> None:
    drawn = []
    for device in (torch.device("cpu"), DEVICE):
        own = generator(sampler, "classifier_free", device)
        torch.manual_seed(0)
        for weight in own.model.parameters():
            weight.data.copy_(0.1 * torch.randn(weight.shape))
        drawn.append(own({"class": ["a", "b"]}, [3, 7], 2.0).cpu())
    assert drawn[0].shape == (2, *SHAPE[:2])
    assert drawn[0].isfinite().all()
    torch.testing.assert_close(*drawn, atol=5e-3, rtol=5e-3)
