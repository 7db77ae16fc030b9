"""Enlarged samples are drawn in parts with seeds of their own, and judged beside those that no model made."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from fieldforge.evaluation.enlargements import MODEL, OWN, PLAIN, EnlargementJudge
from fieldforge.evaluation.evaluation_report import columns_of, figures_of
from fieldforge.evaluation.settings import EnlargingSettings

SAMPLES = {"input": torch.arange(5.0)[:, None], "coarse": [10.0, 11.0, 12.0, 13.0, 14.0]}


@dataclass
class Ramp:
    """A generator whose latents are `coarse` plus a tenth of the seed."""

    keys = frozenset({"coarse"})
    calls: list[tuple[list[float], list[int], float]] = field(default_factory=list)

    def with_steps(self, steps):
        return self

    def __call__(self, batch, seeds, scale):
        self.calls.append((list(batch["coarse"]), seeds, scale))
        return torch.tensor([value + seed / 10 for value, seed in zip(batch["coarse"], seeds, strict=True)])


DOMAIN = SimpleNamespace(
    decode=lambda _, latents: latents.tolist(),
    interpolated=lambda coarse: [value - 10.5 for value in coarse],
    reconstruct=lambda _, batch: batch["input"][:, 0].tolist(),
    measure=lambda output, truth: {"error": abs(output - float(truth["input"]))},
)


@pytest.fixture
def judge():
    settings = EnlargingSettings(count=5, steps=2, guidance=1.5, batch_size=2, pictures=1, picture_size=8)
    return EnlargementJudge(Ramp(), None, DOMAIN, settings)


def test_each_sample_has_a_seed_of_its_own_however_they_are_drawn_together(judge):
    assert judge.enlarged(SAMPLES, 20) == pytest.approx([12.0, 13.1, 14.2, 15.3, 16.4])
    assert judge.generator.calls == [
        ([10.0, 11.0], [20, 21], 1.5), ([12.0, 13.0], [22, 23], 1.5), ([14.0], [24], 1.5)
    ]  # fmt: skip
    assert judge.enlarged(SAMPLES, 0, count=1) == [10.0]


def test_ways_are_judged_by_the_true_samples(judge):
    columns = columns_of(DOMAIN, judge.outputs(SAMPLES), SAMPLES["input"])
    figures = figures_of(columns)["mean"]
    assert figures[MODEL]["error"] == pytest.approx(10.2)
    assert figures[PLAIN]["error"] == pytest.approx(0.5)
    assert figures[OWN]["error"] == 0
