"""Sets of vectors: any number of them, in any order, as many in a training step as the step draws."""

import pytest
import torch

from fieldforge.autoencoder.vector_set import VectorSetDecoder, VectorSetEncoder
from fieldforge.errors import UserError
from fieldforge.noise.randomness import StepRandomness


def encoder(**settings) -> VectorSetEncoder:
    torch.manual_seed(0)
    small = {"tokens": 6, "training_tokens": (3, 6, 10), "width": 16, "heads": 2, "layers": 1, "degrees": 2}
    return VectorSetEncoder(**{**small, **settings})


def decoder() -> VectorSetDecoder:
    torch.manual_seed(0)
    return VectorSetDecoder(6, 4, width=16, heads=2, layers=2, param_shapes={"tokens": (6, 8)})


def surface(samples: int = 2, count: int = 40) -> torch.Tensor:
    return torch.rand(samples, count, 9, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def step(number: int, rank: int = 0, processes: int = 1, seed: int = 0) -> StepRandomness:
    return StepRandomness(seed, number, range(rank, 4, processes), 4)


def drawn(seed: int, **place: int) -> list[int]:
    model = encoder().train()
    return [model.token_count(step(number, seed=seed, **place)) for number in range(60)]


def test_the_number_of_tokens_is_drawn_anew_in_each_training_step() -> None:
    numbers = drawn(0)
    assert set(numbers) == {3, 6, 10}
    assert numbers == drawn(0), "a resumed step draws what it drew"
    assert numbers == drawn(0, rank=1, processes=2), "and so does every process"
    assert numbers != drawn(1)


def test_a_training_step_makes_as_many_tokens_as_it_draws() -> None:
    model = encoder().train()
    for number in range(5):
        assert model(surface(4), step(number)).shape == (4, model.token_count(step(number)), 16)
    with pytest.raises(ValueError, match="randomness"):
        model(surface())


def test_evaluation_draws_nothing() -> None:
    model = encoder().eval()
    assert model(surface(), step(0)).shape == (2, 6, 16)
    assert torch.equal(model(surface(), step(0)), model(surface()))


@torch.no_grad()
def test_samples_of_a_batch_do_not_touch_each_other() -> None:
    model, samples = encoder().eval(), surface(3)
    torch.testing.assert_close(model(samples)[1:2], model(samples[1:2]))
    latents = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(decoder()(latents)["tokens"][1:2], decoder()(latents[1:2])["tokens"])


@torch.no_grad()
def test_all_points_are_read() -> None:
    """Each token knows of points that no token began as."""
    model, samples = encoder().eval(), surface(1)
    changed = samples.clone()
    changed[0, :, 6:] = changed[0, :, 6:].flip(0)  # colours decide nothing of where tokens begin
    assert ((model(changed) - model(samples)).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize("count", [1, 6, 9])
@torch.no_grad()
def test_latents_of_any_number_decode_and_keep_no_order(count: int) -> None:
    latents = torch.randn(2, count, 4, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    tokens = decoder()(latents)["tokens"]
    assert tokens.shape == (2, count, 8)
    torch.testing.assert_close(decoder()(latents[:, order])["tokens"], tokens[:, order])


def test_too_few_points_and_no_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="6 tokens begin as points, and a sample has 5: give"):
        encoder().eval()(surface(count=5))
    with pytest.raises(ValueError, match="training_tokens is empty"):
        encoder(training_tokens=[])


@pytest.mark.parametrize("param_shapes", [{"planes": (6, 8)}, {"tokens": (5, 8)}])
def test_a_decoder_asks_for_its_field(param_shapes: dict) -> None:
    with pytest.raises(ValueError, match="take AttentionField with tokens=6"):
        VectorSetDecoder(6, 4, width=16, heads=2, layers=1, param_shapes=param_shapes)
