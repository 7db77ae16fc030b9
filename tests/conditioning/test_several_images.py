"""Several pictures of one sample at once: as many as there are, in any order."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.runs.tiny import ball
from torch import nn

from fieldforge.asking.requests import requests_of
from fieldforge.conditioning import Conditioner, GridEncoder
from fieldforge.conditioning.image_source import SeveralImagesSource
from fieldforge.conditioning.transforms import SeveralViews
from fieldforge.errors import UserError
from fieldforge.rendering.bitmaps import pixels_of

D, CELLS = 8, 16


@pytest.fixture
def conditioner() -> Conditioner:
    torch.manual_seed(0)
    grid = nn.AdaptiveAvgPool2d(4)
    encoder = GridEncoder(lambda: grid, lambda: {"backbone": "mean"}, 32, 3, 4, [0.0] * 3, [1.0] * 3)
    return Conditioner({"images": SeveralImagesSource(encoder, D)}).eval()


def test_the_vector_is_the_mean_and_tokens_follow_each_other(conditioner, pictures):
    alone = conditioner.embed({"images": [[picture] for picture in pictures]})["images"]
    together = conditioner.embed({"images": [pictures, pictures[:1]]})["images"]
    assert together.tokens.shape[:2] == (2, 3 * CELLS)
    torch.testing.assert_close(together.vector[0].float(), alone.vector.float().mean(0), atol=1e-3, rtol=1e-3)
    assert torch.equal(together.tokens[0], alone.tokens.flatten(0, 1))
    assert torch.equal(together.tokens[1, :CELLS], alone.tokens[0])
    assert together.mask.sum(1).tolist() == [3 * CELLS, CELLS]
    condition = conditioner({"images": together})
    assert (condition.tokens.shape, condition.vector.shape) == ((2, 3 * CELLS, D), (2, D))


def test_the_order_does_not_matter_to_a_set_of_tokens(conditioner, pictures):
    with torch.no_grad():
        one, other = (conditioner(conditioner.embed({"images": [each]})) for each in (pictures, pictures[::-1]))
    torch.testing.assert_close(one.vector, other.vector, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(one.tokens[0, :CELLS], other.tokens[0, -CELLS:])


def test_views_of_a_sample_are_some_of_its_own():
    sample = ball(0.5, "red", "train", 0)
    counts = set()
    for seed in range(12):
        images = SeveralViews(count=2)(sample, np.random.default_rng(seed))["images"]
        assert images.shape == (2, 16, 16, 4)
        there = [picture for picture in images if picture.any()]
        own = [sample[f"view_{view:03d}.png"] for view in range(3)]
        assert all(any(np.array_equal(picture, view) for view in own) for picture in there)
        counts.add(len(there))
    assert counts == {1, 2}
    assert SeveralViews(count=5, least=5)(sample, np.random.default_rng(0))["images"].any((1, 2, 3)).sum() == 3
    with pytest.raises(UserError, match="least= must not be more"):
        SeveralViews(count=1, least=2)


@pytest.mark.parametrize(("understood", "requests"), [({"images"}, 1), ({"image"}, 2)])
def test_pictures_of_the_command_line_lead_together_where_the_model_reads_several(
    understood, requests, pictures, tmp_path
):
    paths = [str(tmp_path / f"{number}.png") for number in range(2)]
    for path, pixels in zip(paths, pictures, strict=False):
        Image.fromarray(pixels).save(path)
    settings = SimpleNamespace(
        prompt=None, prompts=None, images=paths, classes=[None], remove_background=False, numbers={}, from_=None
    )
    generator = SimpleNamespace(check_class=lambda name: None, keys=understood)
    made = requests_of(settings, generator, understood)
    assert len(made) == requests
    if "images" in understood:
        assert made[0].title == "0.png and 1.png"
        for held, path in zip(made[0].values["images"], paths, strict=True):
            assert np.array_equal(held, pixels_of(Path(path).read_bytes()))
