"""Files of Shap-E's decoder and field: diffusers' renderer reads ours, ours reads theirs, mistakes are one sentence."""

import pytest
import torch
from diffusers.pipelines.shap_e.renderer import ShapERenderer
from safetensors.torch import load_file, save_file

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import NoisyBottleneck
from fieldforge.autoencoder.encoders import PointLatticeEncoder
from fieldforge.autoencoder.weight_rows import WeightRows
from fieldforge.errors import UserError
from fieldforge.exchange.renderer_files import load_renderer, renderer_weights, save_diffusers_renderer
from fieldforge.exchange.renderer_names import OPENAI, OPENAI_DECODER, to_layout
from fieldforge.fields.shap_e_field import ShapEField
from fieldforge.noise.processes import PowerLaw


def small(seed: int, hidden: int = 2) -> Autoencoder:
    torch.manual_seed(seed)
    encoder = PointLatticeEncoder(cells=2, patch=1, point_width=4, width=8, heads=1, layers=0, channels=6)
    field = ShapEField(hidden=hidden)
    return Autoencoder(encoder, NoisyBottleneck(PowerLaw(5.0)), field, WeightRows, unit_variance=False)


def same(first: Autoencoder, second: Autoencoder) -> bool:
    ours, theirs = renderer_weights(first), renderer_weights(second)
    return all(torch.equal(theirs[name], value) for name, value in ours.items())


def test_diffusers_reads_what_we_write_and_draws_the_same_mesh(tmp_path):
    ours = small(0)
    save_diffusers_renderer(ours, tmp_path / "shap_e_renderer")
    theirs = ShapERenderer.from_pretrained(tmp_path / "shap_e_renderer")
    latents = torch.randn(1, 8, 6).tanh()
    params = ours.decode(latents)
    for number, value in enumerate(theirs.params_proj(latents).values()):
        torch.testing.assert_close(value, params[f"weight_{number}"])
    assert not theirs.void.background.any()
    assert theirs.mesh_decoder.masks.any()
    again = small(1)
    assert not same(ours, again)
    load_renderer(again, tmp_path / "shap_e_renderer")
    assert same(ours, again)


@pytest.mark.parametrize("layout", [OPENAI, OPENAI_DECODER])
def test_files_of_openai_are_read_and_an_encoder_in_them_is_left_alone(tmp_path, layout):
    ours, again = small(0), small(1)
    further = {"encoder.output_tokens": torch.zeros(3)} if layout is OPENAI else {}
    torch.save({**to_layout(renderer_weights(ours), layout), **further}, tmp_path / "weights.pt")
    encoder = {name: value.clone() for name, value in again.encoder.state_dict().items()}
    load_renderer(again, tmp_path / "weights.pt")
    assert same(ours, again)
    assert all(torch.equal(value, again.encoder.state_dict()[name]) for name, value in encoder.items())


def test_weights_of_another_size_or_model_are_one_sentence(tmp_path):
    save_diffusers_renderer(small(0), tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    content = load_file(file)
    content["mlp.mlp.5.weight"] = torch.zeros(3, 2)
    save_file(content, file)
    with pytest.raises(UserError, match=r"mlp.mlp.5.weight is \(3, 2\), and \(2, 2\)"):
        load_renderer(small(0), tmp_path)
    save_file({"mlp.mlp.0.bias": torch.zeros(2)}, file)
    with pytest.raises(UserError, match=r"holds no params_proj.projections"):
        load_renderer(small(0), tmp_path)
    file.write_bytes(b"no weights")
    with pytest.raises(UserError, match="is cut, altered or holds more than weights"):
        load_renderer(small(0), tmp_path)
