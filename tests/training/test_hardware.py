"""What `trainer.*` asks of the networks."""

from functools import partial
from pathlib import Path

import pytest
import torch
from tests.training.small import Data, distance
from torch import nn
from torch._inductor.exc import InductorError, InvalidCxxCompiler

from fieldforge.errors import UserError
from fieldforge.nn.transformer import Transformer, TransformerBlock
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.processes.hardware import Hardware, fit


class Tokens(nn.Module):
    """Three tokens of one channel each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = Transformer(width=4, layers=1, heads=1)
        self.up, self.down = nn.Linear(1, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.down(self.blocks(self.up(x[..., None])))[..., 0]


def trained(root: Path, **settings) -> AutoencoderModule:
    hardware = Hardware(accelerator="cpu", precision="32-true", **settings)
    module = AutoencoderModule(Tokens(), distance, partial(torch.optim.AdamW, lr=0.1), seed=0)
    hardware.prepare(module)
    fit(hardware.trainer(2, [], [], root, limit_val_batches=0), module, Data(), None)
    return module


def test_compiled_blocks_train_alike_and_their_weights_keep_their_names(tmp_path, monkeypatch):
    compiled = []

    def traced(call, **options):
        compiled.append(call.__self__)
        return torch._dynamo.optimize("eager")(call)  # what torch.compile traces, without a compiler's minutes

    monkeypatch.setattr(torch, "compile", traced)
    plain, module = trained(tmp_path).state_dict(), trained(tmp_path, compile=True)
    assert [type(block) for block in compiled] == [TransformerBlock]
    assert module.state_dict().keys() == plain.keys()
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(weight, plain[name])


def test_deterministic_kernels_train_alike_and_their_lack_is_a_sentence(tmp_path, monkeypatch):
    plain = trained(tmp_path).state_dict()
    try:
        same = trained(tmp_path, deterministic=True).state_dict()
        assert torch.are_deterministic_algorithms_enabled()
        assert all(torch.equal(same[name], weight) for name, weight in plain.items())

        def missing(*args, **kwargs):
            raise RuntimeError("grid_sampler_2d_backward does not have a deterministic implementation, but you set …")

        monkeypatch.setattr(AutoencoderModule, "training_step", missing)
        with pytest.raises(UserError, match="grid_sampler_2d_backward has only kernels with races"):
            trained(tmp_path, deterministic=True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_no_compiler_is_a_sentence(tmp_path, monkeypatch):
    def missing(*args, **kwargs):
        raise InductorError(InvalidCxxCompiler(), None)  # what torch raises where there is none

    monkeypatch.setattr(torch, "compile", lambda call, **options: missing)
    with pytest.raises(
        UserError, match=r"trainer.compile=true: .*No working C\+\+ compiler.* set trainer.compile=false"
    ):
        trained(tmp_path, compile=True)


def test_half_precision_without_guard_is_refused():
    with pytest.raises(UserError, match="give bf16-mixed or 32-true"):
        Hardware(precision="16-mixed")
