"""Adapters against the library peft, and files of them that cannot be read."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tests.diffusion.test_backbones import BACKBONES, arguments, shaken

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.adapter_files import CONFIG, WEIGHTS, read_adapter, write_adapter
from fieldforge.diffusion.lora import LoRA
from fieldforge.errors import UserError


def corrected(backbone, layers=("*",)):
    """A corrected copy of a backbone, its corrections away from their start, and the LoRA."""
    lora, backbone = LoRA(rank=2, alpha=6.0, layers=layers), copy.deepcopy(backbone)
    lora.install(backbone)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in [parameter for parameter in backbone.parameters() if parameter.requires_grad]:
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return backbone.double(), lora


def output(backbone):
    x, level, vector, context = arguments()
    return backbone(x, level, Condition(vector, context))


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_peft_reads_the_files_and_makes_the_same_model(build, tmp_path):
    plain = shaken(build())
    model, lora = corrected(plain)
    write_adapter(model.state_dict(), "", lora, tmp_path, {})
    theirs = PeftModel.from_pretrained(copy.deepcopy(plain), str(tmp_path)).merge_and_unload()
    torch.testing.assert_close(output(theirs), output(model), atol=1e-6, rtol=1e-5)
    ours = copy.deepcopy(plain)
    read_adapter(tmp_path).add_to(ours, 1.0)
    torch.testing.assert_close(output(ours), output(model), atol=1e-6, rtol=1e-5)
    again = copy.deepcopy(plain)
    again.load_state_dict(lora.merged(model.state_dict()))
    torch.testing.assert_close(output(again), output(model), atol=1e-9, rtol=1e-9)


def test_files_of_peft_are_read(tmp_path):
    plain = shaken(BACKBONES["DiT"]())
    layers = [name for name, layer in plain.named_modules() if name.endswith(("to_qkv", "to_out"))]
    theirs = get_peft_model(copy.deepcopy(plain), LoraConfig(r=3, lora_alpha=5, target_modules=layers))
    torch.manual_seed(0)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    theirs.save_pretrained(str(tmp_path))
    read_adapter(tmp_path).add_to(plain, 1.0)
    torch.testing.assert_close(output(theirs.merge_and_unload()), output(plain), atol=1e-6, rtol=1e-5)


def test_it_starts_at_the_model_and_trains_nothing_else():
    plain = shaken(BACKBONES["DiT"]()).float()
    model, aside = copy.deepcopy(plain), torch.nn.Linear(2, 2)
    LoRA(rank=2, alpha=4.0, layers=["*.to_qkv"]).install(model, aside)
    assert torch.equal(output(plain.double()), output(model.double()))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = [f"transformer.blocks.{number}.attention.to_qkv" for number in (0, 1)]
    assert trained == {f"{layer}.parametrizations.weight.0.{end}" for layer in layers for end in ("down", "up")}
    assert not any(parameter.requires_grad for parameter in aside.parameters())


def test_two_adapters_sum_up_by_their_weights(tmp_path):
    plain = shaken(BACKBONES["DiT"]())
    names = ("*.to_qkv", "*.to_out")
    for name in names:
        model, lora = corrected(plain, [name])
        write_adapter(model.state_dict(), "", lora, tmp_path / name[2:], {})
    both = copy.deepcopy(plain)
    read_adapter(tmp_path / "to_qkv").add_to(both, 0.5)
    read_adapter(tmp_path / "to_out").add_to(both, -1.0)
    for layer, factor in (("to_qkv", 0.5), ("to_out", -1.0)):
        down, up = read_adapter(tmp_path / layer).corrections[f"transformer.blocks.0.attention.{layer}"]
        own = getattr(plain.transformer.blocks[0].attention, layer).weight
        change = getattr(both.transformer.blocks[0].attention, layer).weight - own
        torch.testing.assert_close(change, factor * 3.0 * (up @ down).double(), atol=1e-6, rtol=1e-5)


@pytest.fixture
def folder(tmp_path):
    model, lora = corrected(shaken(BACKBONES["DiT"]()))
    write_adapter(model.state_dict(), "", lora, tmp_path, {})
    return tmp_path


def test_a_model_of_another_size_is_refused_and_stays_as_it_is(folder):
    other = shaken(BACKBONES["InContext"]())
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(UserError, match=r"corrects the layer .* in this model: give run= the model"):
        read_adapter(folder).add_to(other, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_damaged_files_are_one_sentence(folder, tmp_path_factory):
    with pytest.raises(UserError, match=r"has no adapter_config.json: give the folder of a run"):
        read_adapter(tmp_path_factory.mktemp("none"))
    tensors, config = load_file(folder / WEIGHTS), json.loads((folder / CONFIG).read_text())
    save_file({name: value for name, value in tensors.items() if not name.endswith("lora_B.weight")}, folder / WEIGHTS)
    with pytest.raises(UserError, match="holds no pairs of lora_A and lora_B"):
        read_adapter(folder)
    save_file({name: value * torch.nan for name, value in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(UserError, match="holds other than finite numbers"):
        read_adapter(folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(UserError, match="is cut or altered"):
        read_adapter(folder)
    (folder / CONFIG).write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(UserError, match=r"of a kind that is not read here \(use_dora\)"):
        read_adapter(folder)
    (folder / CONFIG).write_text('{"r": 0}')
    with pytest.raises(UserError, match="names no peft_type, r and lora_alpha"):
        read_adapter(folder)
