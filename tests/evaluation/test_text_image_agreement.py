"""Retrieval by an encoder of texts and pictures, against transformers' own model."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conditioning.conftest import CAPTIONS, MEAN, STD, clip_folder  # noqa: F401 (a fixture)
from transformers import AutoTokenizer, CLIPModel

from fieldforge.errors import UserError
from fieldforge.evaluation.text_image_agreement import TextImageJudge


@dataclass
class Shown:
    """An output that is a picture."""

    pixels: np.ndarray
    is_empty: bool = False

    def picture(self, size: int) -> Image.Image:
        return Image.fromarray(self.pixels).resize((size, size), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def outputs() -> list[Shown]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 4, 4, 4)).astype(np.uint8)
    pictures[..., 3] = 255
    return [Shown(pixels.repeat(8, 0).repeat(8, 1)) for pixels in pictures]


def test_a_sample_is_found_where_the_model_itself_prefers_its_prompt(clip_folder, outputs):  # noqa: F811
    model = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = torch.from_numpy(np.stack([one.pixels[..., :3] for one in outputs]) / 255).float().permute(0, 3, 1, 2)
    normalised = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    words = AutoTokenizer.from_pretrained(clip_folder)(CAPTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        preferred = model(**words, pixel_values=normalised).logits_per_image.argmax(1).numpy()
    judge, target = TextImageJudge.of(str(clip_folder)), np.arange(20) % len(CAPTIONS)
    found = judge.retrieved(outputs, CAPTIONS, target)
    np.testing.assert_array_equal(found, preferred == target)
    assert judge.retrieved(outputs, CAPTIONS, preferred).tolist() == [1.0] * 20
    assert len(set(preferred.tolist())) > 0


def test_an_empty_sample_is_not_found(clip_folder, outputs):  # noqa: F811
    judge = TextImageJudge.of(str(clip_folder))
    nothing = [Shown(one.pixels, is_empty=True) for one in outputs[:2]]
    assert judge.retrieved(nothing, CAPTIONS[:1], np.zeros(2, int)).tolist() == [0.0, 0.0]
    assert judge.retrieved(outputs[:2], CAPTIONS[:1], np.zeros(2, int)).tolist() == [1.0, 1.0]


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(UserError) as mistake:
        TextImageJudge.of(str(tmp_path))
    assert "\n" not in str(mistake.value)
    assert str(tmp_path) in str(mistake.value)
