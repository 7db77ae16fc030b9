"""Files of Shap-E's denoiser: read as data only, refused in one sentence, written for others."""

import pickle

import pytest
import torch
from diffusers import PriorTransformer
from safetensors.torch import save_file
from tests.diffusion.shap_e_prior import KINDS, random_prior

from fieldforge.diffusion.backbones.shap_e import ShapEBackbone
from fieldforge.errors import UserError
from fieldforge.exchange.prior_files import load_prior, save_diffusers, save_openai
from fieldforge.exchange.prior_names import to_openai


def shaken(kind, seed=0, **changes):
    torch.manual_seed(seed)
    backbone = ShapEBackbone(**{**KINDS[kind], **changes})
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return backbone


def assert_same(backbone, other):
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_again(kind, tmp_path):
    backbone = shaken(kind)
    save_openai(backbone, tmp_path / "prior.pt")
    save_file(torch.load(tmp_path / "prior.pt"), tmp_path / "prior.safetensors")
    save_diffusers(backbone, tmp_path / "prior")
    for name in ("prior.pt", "prior.safetensors", "prior"):
        again = shaken(kind, seed=1)
        load_prior(again, tmp_path / name)
        assert_same(backbone, again)


@pytest.mark.parametrize("kind", KINDS)
def test_diffusers_reads_our_folder_and_we_read_its(kind, tmp_path):
    backbone = shaken(kind)
    save_diffusers(backbone, tmp_path / "ours")
    prior = PriorTransformer.from_pretrained(tmp_path / "ours")
    prior.save_pretrained(tmp_path / "theirs")
    again = shaken(kind, seed=1)
    load_prior(again, tmp_path / "theirs")
    assert_same(backbone, again)


def refusal(backbone, path):
    with pytest.raises(UserError) as mistake:
        load_prior(backbone, path)
    assert "\n" not in str(mistake.value)
    return str(mistake.value)


def test_another_size_names_file_and_tensor(tmp_path):
    save_openai(shaken("text"), tmp_path / "prior.pt")
    save_diffusers(shaken("text"), tmp_path / "prior")
    wide = shaken("text", width=48)
    sentence = refusal(wide, tmp_path / "prior.pt")
    assert "prior.pt: the tensor wrapped.pos_emb is (8, 32), and (8, 48)" in sentence
    assert "positional_embedding is (1, 8, 32)" in refusal(wide, tmp_path / "prior")
    deep, flat = shaken("text", layers=3), shaken("text", layers=1)
    assert "lacks the tensor wrapped.backbone.resblocks.2." in refusal(deep, tmp_path / "prior.pt")
    assert "holds the tensor wrapped.backbone.resblocks.1." in refusal(flat, tmp_path / "prior.pt")
    assert "lacks the tensor wrapped.clip_embed.0.weight" in refusal(
        shaken("image", condition_width=12), tmp_path / "prior.pt"
    )
    assert "set backbone.heads=4" in refusal(shaken("text", heads=2), tmp_path / "prior")


def test_foreign_and_damaged_files_are_one_sentence(tmp_path):
    backbone = shaken("text")
    assert "there is no file of weights" in refusal(backbone, tmp_path / "none.pt")
    (tmp_path / "empty").mkdir()
    assert "holds no diffusion_pytorch_model.safetensors" in refusal(backbone, tmp_path / "empty")
    save_openai(backbone, tmp_path / "whole.pt")
    save_diffusers(backbone, tmp_path / "prior")
    files = {"pt": tmp_path / "whole.pt", "safetensors": tmp_path / "prior" / "diffusion_pytorch_model.safetensors"}
    for suffix, file in files.items():
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(file.read_bytes()[:-100])
        assert f"cut.{suffix}" in refusal(backbone, cut)
    altered = bytearray(files["pt"].read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / "altered.pt").write_bytes(altered)
    assert "altered.pt is damaged (checksum" in refusal(backbone, tmp_path / "altered.pt")
    save_file(random_prior("text").transformer_blocks[0].state_dict(), tmp_path / "foreign.safetensors")
    assert "give the weights of a denoiser of Shap-E" in refusal(backbone, tmp_path / "foreign.safetensors")
    torch.save({"wrapped.pos_emb": "words"}, tmp_path / "words.pt")
    assert "'wrapped.pos_emb' is no tensor" in refusal(backbone, tmp_path / "words.pt")


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("code of the file ran",))


def test_code_in_a_file_does_not_run(tmp_path):
    torch.save({"wrapped.pos_emb": Harm()}, tmp_path / "harm.pt")
    assert "harm.pt" in refusal(shaken("text"), tmp_path / "harm.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harm()))
    assert "plain.pt" in refusal(shaken("text"), tmp_path / "plain.pt")


def test_half_precision_is_read_as_full(tmp_path):
    backbone = shaken("text")
    half = {name: value.half() for name, value in to_openai(backbone.state_dict(), backbone.heads).items()}
    torch.save(half, tmp_path / "half.pt")
    again = shaken("text", seed=1)
    load_prior(again, tmp_path / "half.pt")
    assert again.project.weight.dtype == torch.float32
    assert torch.equal(again.project.weight, backbone.project.weight.half().float())
