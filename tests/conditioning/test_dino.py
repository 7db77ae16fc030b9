"""DINO checkpoints as image encoders, against transformers' own models with random weights."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from fieldforge.conditioning.dino import DinoImageEncoder
from fieldforge.errors import UserError

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8, "image_size": 32}
KINDS = {"vit": (ViTModel, ViTConfig), "dinov2": (Dinov2Model, Dinov2Config)}


def folder_of(kind: str, folder: Path) -> Path:
    torch.manual_seed(0)
    network, config = KINDS[kind]
    network(config(**SMALL)).save_pretrained(folder)
    preprocessing = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_checkpoint(kind, tmp_path):
    folder = folder_of(kind, tmp_path)
    pictures = torch.rand(2, 3, 32, 32)
    encoder = DinoImageEncoder(str(folder), size=32)
    features = encoder.encode(pictures)
    hidden = KINDS[kind][0].from_pretrained(folder).eval()(pixel_values=(pictures - 0.5) / 0.25).last_hidden_state
    torch.testing.assert_close(features.vector, hidden[:, 0])
    torch.testing.assert_close(features.tokens, hidden[:, 1:])
    assert (encoder.token_count, encoder.token_width) == tuple(features.tokens.shape[1:])
    larger = DinoImageEncoder(str(folder), size=48)
    assert larger.encode(torch.rand(1, 3, 48, 48)).tokens.shape == (1, larger.token_count, 16)
    assert larger.fingerprint() != encoder.fingerprint()


def test_other_checkpoints_and_sizes_are_one_sentence(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is of type 'bert', not DINO"):
        _ = DinoImageEncoder(str(tmp_path)).config
    folder = folder_of("dinov2", tmp_path)
    with pytest.raises(UserError, match="patches of 8 pixels, and size=30 is no multiple of that: give size=24"):
        _ = DinoImageEncoder(str(folder), size=30).config
