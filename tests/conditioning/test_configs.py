"""Every choice of the conditioner group composes and conditions a batch."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fieldforge.conditioning import Conditioner

CONFIGS = Path(__file__).parents[2] / "configs"
CHOICES = sorted(
    path.stem
    for path in (CONFIGS / "conditioner").glob("*.yaml")
    if path.stem not in ("base", "all") and not path.stem.startswith("open_clip")
)
# (open_clip: test_open_clip.py)


def built(clip_folder, *overrides: str) -> Conditioner:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(
            overrides=[*overrides, f"++conditioner.clip={clip_folder}", "++conditioner.classes=[Bed,Sofa]"],
        )
    return instantiate(config.conditioner, width=8)


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_conditions_a_batch(choice, clip_folder, pictures):
    if choice in ("image_features", "orbit", "video"):
        pytest.importorskip("efficientnet_lite_pytorch")
    conditioner = built(clip_folder, f"+conditioner={choice}")
    batch = {"class": ["Bed", "Sofa"], "caption": ["a bed", "a sofa"], "image": pictures[:2]}
    batch |= {"coarse": torch.zeros(2, 16, 3), "first_frame": torch.zeros(2, 16, 4)}
    batch |= {"angles": torch.zeros(2, 5, 3), "motion": torch.zeros(2, 2)}
    drop = conditioner.draw_drop(2, torch.Generator().manual_seed(0))
    condition = conditioner(conditioner.embed(batch), drop)
    assert set(drop) == set(conditioner.names)
    assert condition.batch_size == (None if choice == "none" else 2)
    assert condition.width == (None if choice == "none" else 8)


def test_sources_compose_from_the_command_line(clip_folder):
    conditioner = built(clip_folder, "+conditioner=text", "conditioner/parts=[class,clip_text]")
    assert conditioner.names == ("class", "clip_text")
    assert conditioner.sources["clip_text"].encoder.model == str(clip_folder)
    assert conditioner.sources["class"].classes == ("Bed", "Sofa")


def test_both_towers_lose_their_sources_apart_and_together(clip_folder):
    conditioner = built(clip_folder, "+conditioner=clip_both", "conditioner.parts.clip_text.dropout=0.3")
    assert conditioner.drop_all == 0.1
    assert [source.dropout for source in conditioner.sources.values()] == [0.3, 0.1]


@pytest.mark.parametrize(("backbone", "offered"), [("dit", False), ("in_context", True)])
def test_tokens_are_offered_where_the_backbone_reads_them(backbone, offered, clip_folder):
    conditioner = built(clip_folder, "+conditioner=clip_text", f"+backbone={backbone}")
    assert (conditioner.sources["clip_text"].token_projection is not None) == offered


def test_cross_attention_asks_for_tokens(clip_folder):
    conditioner = built(clip_folder, "+conditioner=clip_text", "+backbone=dit", "backbone.cross_attention=true")
    assert conditioner.sources["clip_text"].token_projection is not None


def test_numbers_points_and_several_pictures_are_parts(clip_folder, pictures):
    pytest.importorskip("efficientnet_lite_pytorch")
    parts = "conditioner/parts=[proportions,symmetry,sharpness,points,images]"
    conditioner = built(clip_folder, "+conditioner=class", parts, "+latent_data.transforms={}", "+data.root=nowhere")
    batch = {"proportions": torch.rand(2, 3), "symmetry": torch.rand(2, 3), "sharpness": torch.rand(2, 1)}
    batch |= {"points": torch.rand(2, 50, 3), "images": [pictures, pictures[:1]]}
    condition = conditioner(conditioner.embed(batch))
    assert condition.vector.shape == (2, 8)
    assert condition.tokens.shape == (2, 16 + 3 * 49, 8)
