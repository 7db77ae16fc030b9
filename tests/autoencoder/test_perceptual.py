"""The distance of features, with the network's real weights where they are installed."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.autoencoder.perceptual import PerceptualDistance
from fieldforge.autoencoder.picture_loss import PictureLoss
from fieldforge.errors import UserError


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    pytest.importorskip("efficientnet_lite_pytorch")
    return PerceptualDistance()


@pytest.fixture(scope="module")
def checks() -> Tensor:
    """Two pictures (2, 3, 64, 64) of a chequered disc."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = ((rows - 32) ** 2 + (columns - 32) ** 2 < 24**2) * ((rows // 4 + columns // 4) % 2 * 2 - 1)
    return torch.stack([disc.expand(3, -1, -1), disc.roll(9, 0).expand(3, -1, -1)])


def test_equal_pictures_are_0_apart_and_the_further_the_more_blurred(distance, checks) -> None:
    blurred = [F.avg_pool2d(checks, side, 1, side // 2) for side in (1, 3, 7)]
    apart = [float(distance(picture, checks)) for picture in blurred]
    assert apart[0] == 0
    assert apart[0] < apart[1] < apart[2]


def test_it_is_that_of_features_of_each_place_at_length_1(distance, checks) -> None:
    other = checks.flip(0) * 0.5
    levels = []
    for picture in (other, checks):
        normalised = ((picture + 1) / 2 - 127 / 255) / (128 / 255)
        levels.append(distance.encoder.network.pyramid(normalised))
    assert [tuple(level.shape[1:]) for level in levels[0]] == [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4)]
    parts = [2 - 2 * torch.cosine_similarity(a, b, dim=1) for a, b in zip(*levels, strict=True)]
    truth = torch.stack([part.mean() for part in parts]).mean()
    torch.testing.assert_close(distance(other, checks), truth, atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_reconstruction_alone(distance, checks) -> None:
    seen, truth = (0.5 * checks).requires_grad_(), checks.clone().requires_grad_()
    distance(seen, truth).backward()
    assert seen.grad.abs().sum() > 0
    assert truth.grad is None
    assert all(parameter.grad is None for parameter in distance.encoder.network.parameters())


def test_the_network_is_no_part_of_the_loss(distance, checks) -> None:
    loss = PictureLoss(perceptual=0.5)
    loss.perceptual(checks, checks)
    assert not loss.state_dict()
    assert not list(loss.parameters())
    assert len(pickle.dumps(loss)) < 10_000


def test_missing_weights_are_named_when_the_loss_is_built(monkeypatch) -> None:
    monkeypatch.setattr("fieldforge.conditioning.efficientnet.package_files", lambda name: ())
    with pytest.raises(UserError, match="efficientnet-lite0 is not installed"):
        PictureLoss(perceptual=0.5)
    PictureLoss(perceptual=0.0)
