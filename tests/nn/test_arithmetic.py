"""Types of a network's products, and compiled blocks: for trainings (see `test_hardware`) and for samplers."""

import copy
from dataclasses import replace

import pytest
import torch
from tests.device.test_evaluations import SHAPE, generator
from torch._inductor.exc import InductorError, InvalidCxxCompiler

from fieldforge.asking.weak_guidance import AutoGuided
from fieldforge.errors import UserError
from fieldforge.generation import Generator
from fieldforge.nn.arithmetic import Arithmetic
from fieldforge.nn.blocks import Block
from fieldforge.training.processes.precision import arithmetic_of
from fieldforge.training.settings import ComputationSettings

CPU = torch.device("cpu")
WHOLE = Arithmetic("cpu", "32-true", "highest", compile=False)
AUTO = ComputationSettings("auto", "auto", "auto", compile=False)


@pytest.fixture
def plain() -> Generator:
    own = generator("unipc", "classifier_free", CPU)
    draws = torch.Generator().manual_seed(0)
    for weight in own.model.parameters():
        weight.data.copy_(0.1 * torch.randn(weight.shape, generator=draws))
    return own


def drawn(own: Generator, look=None) -> torch.Tensor:
    return own.draw(own.steering({"class": ["a", "b"]}, 2, 2.0), own.noise([3, 7]), [3, 7], look=look)


def test_a_cpu_draws_the_same_bytes_whatever_is_faster_on_it(plain, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    arithmetic = arithmetic_of(AUTO, CPU)
    assert (arithmetic, arithmetic.facts()) == (WHOLE, {})
    assert torch.equal(drawn(plain.computed(arithmetic)), drawn(plain))


@pytest.mark.parametrize(
    ("has", "precision", "matmul"), [(True, "bf16-mixed", "medium"), (False, "32-true", "highest")]
)
def test_a_gpu_computes_as_in_trainings_or_as_is_asked(has, precision, matmul, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    gpu = torch.device("cuda", 1)
    assert arithmetic_of(AUTO, gpu) == Arithmetic("cuda", precision, matmul, compile=False)
    asked = arithmetic_of(replace(AUTO, precision="32-true", matmul="high", compile=True), gpu)
    assert asked == Arithmetic("cuda", "32-true", "high", compile=True)
    assert asked.facts() == {"matmul": "high"}


def test_networks_round_and_the_sampler_does_not(plain):
    seen: list[tuple[bool, str]] = []

    def note(*_: object) -> None:
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision()))

    plain.model.backbone.register_forward_hook(note)
    rounded = drawn(plain.computed(Arithmetic("cpu", "bf16-mixed", "high", compile=False)), look=note)
    inside, outside = seen[0], seen[-1]  # the last is the sampler's
    assert (inside, outside) == ((True, "high"), (False, "highest"))
    assert rounded.dtype == torch.float32
    exact = drawn(plain)
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).square().mean().sqrt() < 0.02 * exact.std()


def test_compiled_blocks_of_all_networks_draw_alike(plain, monkeypatch):
    compiled = []

    def traced(call, **options):
        compiled.append(call.__self__)
        return torch._dynamo.optimize("eager")(call)  # what torch.compile traces, without a compiler's half minute

    monkeypatch.setattr(torch, "compile", traced)
    weak = generator("unipc", "classifier_free", CPU)
    guided = plain.extended(AutoGuided, weak=weak)
    expected = drawn(copy.deepcopy(guided))
    latents = drawn(guided.computed(replace(WHOLE, compile=True)))
    assert compiled == [part for own in (plain, weak) for part in own.model.modules() if isinstance(part, Block)]
    torch.testing.assert_close(latents, expected)


def test_no_compiler_is_a_sentence(plain, monkeypatch):
    def missing(*args, **kwargs):
        raise InductorError(InvalidCxxCompiler(), None)  # what torch raises where there is none

    monkeypatch.setattr(torch, "compile", lambda call, **options: missing)
    with pytest.raises(UserError, match=r"^compile=true: .*No working C\+\+ compiler.* set compile=false"):
        drawn(plain.computed(replace(WHOLE, compile=True)))


def test_variations_compute_so_too(plain):
    rounded = plain.computed(replace(WHOLE, precision="bf16-mixed"))
    start = torch.ones(2, *SHAPE[:2])
    steering = plain.steering({}, 2, 1.0)
    latents = [own.draw(steering, own.noise([3, 7]), [3, 7], start, 0.5) for own in (plain, rounded)]
    assert not torch.equal(*latents)
    torch.testing.assert_close(*latents, atol=0.05, rtol=0.05)
