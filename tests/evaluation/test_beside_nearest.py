"""Numbers of generated samples over those of the training samples that they are nearest to."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.runs.tiny import write_balls

from fieldforge.data.heldout import HeldOut
from fieldforge.data.shape_transforms import Surface
from fieldforge.data.shards import open_shards
from fieldforge.evaluation.beside_nearest import NearestReconstructions, spread

POINTS = 16


@dataclass
class Thing:
    """Of one output: how many pieces it has, none where it is empty."""

    pieces: float

    @property
    def is_empty(self) -> bool:
        return self.pieces == 0


class CountingDomain:
    """Reconstructions have as many pieces as their place in the split says; what was reconstructed is kept."""

    def __init__(self, inputs: list[torch.Tensor]):
        self.inputs, self.reconstructed = inputs, []

    def input_transforms(self):
        return [Surface(POINTS)]

    def reconstruct(self, autoencoder, batch, resolution):
        [sample] = batch["input"]
        [place] = [place for place, stored in enumerate(self.inputs) if torch.equal(stored, sample)]
        self.reconstructed.append(place)
        return [Thing(float(place))]

    def describe(self, thing):
        return {"pieces": thing.pieces}


@pytest.fixture(scope="module")
def beside(tmp_path_factory) -> NearestReconstructions:
    root = write_balls(tmp_path_factory.mktemp("balls"))
    samples = HeldOut(open_shards(root, "train"), [Surface(POINTS)], seed=0, batch_size=4)
    inputs = [one for batch in samples for one in batch["input"]]
    return NearestReconstructions(None, CountingDomain(inputs), str(root), 16)


def test_each_is_measured_by_its_own_nearest_and_each_nearest_is_made_once(beside):
    numbers = [{"pieces": 6.0}, {"pieces": 8.0}, None, {"pieces": 5.0}, {"pieces": 3.0}]
    figures = beside.ratios(numbers, np.array([2, 4, -1, 5, 2]))  # 3, 2, left out, 1, 1.5
    assert figures == {
        "pieces over those of the nearest reconstruction": {"median": 1.75, "90th percentile": pytest.approx(2.7)}
    }
    assert sorted(beside.domain.reconstructed) == [2, 4, 5]
    beside.ratios(numbers[:2], np.array([4, 2]))
    assert sorted(beside.domain.reconstructed) == [2, 4, 5]


def test_a_reconstruction_of_nothing_counts_as_one_piece(beside):
    assert beside.ratios([{"pieces": 3.0}], np.array([0])) == {
        "pieces over those of the nearest reconstruction": {"median": 3.0, "90th percentile": 3.0}
    }


def test_nothing_spreads_to_nothing():
    assert spread([]) == {}
