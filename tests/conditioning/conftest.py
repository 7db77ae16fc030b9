"""Small random encoders saved to disk with working tokenizers, as `save_pretrained` leaves them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    T5Config,
    T5EncoderModel,
)

CAPTIONS = ["a red armchair", "a wooden chair with four legs", "a bathtub", "a kitchen sink", "a small round table"]
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP: byte-pair tokenizer of CLIP's own class, padded with its end of text; 16 positions, 32² pictures."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = _clip_tokenizer()
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    text = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_dim": 24}
    text |= {"eos_token_id": end, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": end}
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "projection_dim": 24}
    torch.manual_seed(0)
    _random(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))).save_pretrained(folder)
    _save_preprocessing(folder)
    return folder


@pytest.fixture(scope="session")
def large_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sizes of CLIP's ViT-L/14 in place of its weights: for plans and widths."""
    folder = tmp_path_factory.mktemp("large_clip")
    _clip_tokenizer().save_pretrained(folder)
    vision = {
        "hidden_size": 1024,
        "image_size": 224,
        "patch_size": 14,
        "projection_dim": 768,
        "num_attention_heads": 16,
    }
    CLIPConfig(text_config={"projection_dim": 768}, vision_config=vision, projection_dim=768).save_pretrained(folder)
    (folder / "model.safetensors").touch()
    return folder


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SigLIP: texts padded to full length with the end-of-text token."""
    folder = tmp_path_factory.mktemp("siglip")
    tokenizer = _word_tokenizer(pad="</s>")
    tokenizer.save_pretrained(folder)
    text = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "projection_size": 32}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    torch.manual_seed(1)
    _random(SiglipModel(SiglipConfig(text_config=text, vision_config=vision))).save_pretrained(folder)
    _save_preprocessing(folder)
    return folder


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    tokenizer = _word_tokenizer(pad="<pad>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(2)
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    T5EncoderModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def pictures() -> list[np.ndarray]:
    """Three RGBA pictures of different sizes with something opaque in each."""
    random = np.random.default_rng(0)
    result = []
    for height, width in ((40, 60), (64, 64), (90, 30)):
        pixels = np.zeros((height, width, 4), np.uint8)
        pixels[8:-8, 6:-6, :3] = random.integers(0, 256, (height - 16, width - 12, 3))
        pixels[8:-8, 6:-6, 3] = 255
        result.append(pixels)
    return result


def _clip_tokenizer() -> CLIPTokenizer:
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<|startoftext|>", "<|endoftext|>"]
    letters = list("abcdefghijklmnopqrstuvwxyz,.-!?")
    learner.train_from_iterator(
        CAPTIONS,
        trainers.BpeTrainer(
            vocab_size=200, end_of_word_suffix="</w>", initial_alphabet=letters, special_tokens=special
        ),
    )
    learned = json.loads(learner.to_str())["model"]
    vocab = learned["vocab"]
    for letter in letters:  # as in CLIP's vocabulary, each letter also exists as the end of a word
        vocab.setdefault(f"{letter}</w>", len(vocab))
    return CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in learned["merges"]], model_max_length=16)


def _word_tokenizer(pad: str) -> PreTrainedTokenizerFast:
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocab = {token: i for i, token in enumerate(["<pad>", "</s>", "<unk>", *words])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.decoder = decoders.WordPiece(prefix="")
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token=pad, unk_token="<unk>")


def _random(model: torch.nn.Module) -> torch.nn.Module:
    """Weights well away from their start, where biases are 0 and layers nearly do nothing."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def _save_preprocessing(folder: Path) -> None:
    settings = {"image_mean": MEAN, "image_std": STD, "size": {"shortest_edge": 32}, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
