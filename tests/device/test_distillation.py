"""A step of distillation copies nothing to a GPU and reads nothing back."""

import torch
from tests.device.stand_in import META, placed, traffic  # noqa: F401 (a fixture)
from tests.device.test_evaluations import SHAPE, generator

from fieldforge.diffusion.weighting import UniformData
from fieldforge.planning.step import unattended
from fieldforge.training.modules.distillation_module import DistillationModule


def test_a_step_copies_nothing_and_reads_nothing_back(traffic):  # noqa: F811
    student, teacher = (generator("ddim", "classifier_free", META) for _ in range(2))
    times = torch.linspace(1, 0, 5, dtype=torch.float64)
    intervals = torch.stack([times[:-2:2], times[1:-1:2], times[2::2]], 1)  # (2, 3)
    parts = (student.model, student.conditioner, teacher.model, teacher.guidance(2.0), intervals)
    module = unattended(DistillationModule(*parts, UniformData(), torch.optim.SGD, seed=0)).to(META)
    module.on_fit_start()
    batch = {"latent": torch.empty(2, *SHAPE[:2], device=META), "class": ["a", "b"]}
    batch = placed(module.on_before_batch_transfer(batch, 0))
    module.training_step(batch, 0)  # the first moves the times
    with traffic:
        module.train().training_step(batch, 0).backward()
    assert traffic.copies == []
