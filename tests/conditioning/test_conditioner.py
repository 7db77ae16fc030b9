import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from fieldforge.conditioning import (
    ClassSource,
    ClipTextEncoder,
    Condition,
    Conditioner,
    Features,
    GridEncoder,
    ImageSource,
    TextSource,
    compose,
)
from fieldforge.errors import UserError

CLASSES = ["Bathroom", "Kitchen", "Living room"]
D = 16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid_encoder() -> GridEncoder:
    torch.manual_seed(5)
    return GridEncoder(lambda: nn.Conv2d(3, 8, 8, 8), lambda: {"backbone": "conv"}, 32, 8, 4, [0.5] * 3, [0.5] * 3)


@pytest.fixture
def conditioner(clip_folder) -> Conditioner:
    """Class (vector), text (vector and tokens) and image (vector and tokens)."""
    torch.manual_seed(0)
    sources = {
        "class": ClassSource(CLASSES, D, dropout=0.1),
        "text": TextSource(ClipTextEncoder(str(clip_folder)), D, dropout=0.2),
        "image": ImageSource(grid_encoder(), D, dropout=0.3),
    }
    return Conditioner(sources, drop_all=0.05)


@pytest.fixture
def batch(pictures) -> dict:
    return {"class": CLASSES, "caption": ["a red armchair", "a bathtub", "a wooden chair with legs"], "image": pictures}


def test_vectors_add_up_and_tokens_follow_each_other(conditioner, batch):
    features = conditioner.embed(batch)
    condition = conditioner(features)
    alone = [source(features[name]) for name, source in conditioner.sources.items()]
    assert condition.vector.shape == (3, D)
    torch.testing.assert_close(condition.vector, sum(part.vector for part in alone))
    assert condition.tokens.shape == (3, alone[1].tokens.shape[1] + 16, D)
    assert torch.equal(condition.tokens, torch.cat([alone[1].tokens, alone[2].tokens], 1))
    assert torch.equal(condition.mask, torch.cat([alone[1].mask, alone[2].mask], 1))


def test_a_dropped_row_gets_the_source_s_null_and_others_are_untouched(conditioner, batch):
    features = conditioner.embed(batch)
    drop = {"text": torch.tensor([False, True, False])}
    whole, dropped = conditioner(features), conditioner(features, drop)
    without_text = conditioner({name: held for name, held in features.items() if name != "text"})
    assert torch.equal(dropped.vector[[0, 2]], whole.vector[[0, 2]])
    assert torch.equal(dropped.tokens[[0, 2]], whole.tokens[[0, 2]])
    assert torch.equal(dropped.vector[1], without_text.vector[1])
    assert torch.equal(dropped.tokens[1][dropped.mask[1]], without_text.tokens[1][without_text.mask[1]])


def test_everything_dropped_is_the_null_condition(conditioner, batch):
    lost = {name: torch.ones(3, dtype=torch.bool) for name in conditioner.names}
    dropped, null = conditioner(conditioner.embed(batch), lost), conditioner.null(3)
    assert torch.equal(dropped.vector, null.vector)
    for row in range(3):
        # The picture's null stands at one place; the place itself is not told apart from the others.
        assert torch.equal(dropped.tokens[row][dropped.mask[row]], null.tokens[row][null.mask[row]])
    assert null.mask.any(1).all()


def test_dropout_rates_and_independence_over_ten_thousand_draws(conditioner):
    steps, size = 100, 100
    source = generator(1)
    drawn = [conditioner.draw_drop(size, source) for _ in range(steps)]
    lost = {name: torch.stack([step[name] for step in drawn]).double() for name in conditioner.names}  # (steps, size)
    count = steps * size
    rates = {name: 1 - (1 - chance) * (1 - 0.05) for name, chance in (("class", 0.1), ("text", 0.2), ("image", 0.3))}
    for name, rate in rates.items():
        assert abs(lost[name].mean() - rate) < 3 * (rate * (1 - rate) / count) ** 0.5
        # Samples: each neighbour pair of a step is as often lost together as two independent draws are.
        pairs = (lost[name][:, ::2] * lost[name][:, 1::2]).mean()
        assert abs(pairs - rate**2) < 3 * (rate**2 * (1 - rate**2) / (count / 2)) ** 0.5
        # The rate does not depend on the place in the batch.
        by_place = lost[name].mean(0)
        assert abs(by_place - rate).max() < 5 * (rate * (1 - rate) / steps) ** 0.5
    # Sources: lost together by chance and by drop_all, no more.
    for first, second in (("class", "text"), ("text", "image"), ("class", "image")):
        together = 0.05 + 0.95 * conditioner.sources[first].dropout * conditioner.sources[second].dropout
        assert abs((lost[first] * lost[second]).mean() - together) < 3 * (together * (1 - together) / count) ** 0.5


def test_without_drop_all_sources_are_lost_independently():
    sources = {name: ClassSource(CLASSES, D, dropout=0.3) for name in ("a", "b")}
    drop = Conditioner(sources).draw_drop(10_000, generator(3))
    correlation = np.corrcoef(drop["a"].numpy(), drop["b"].numpy())[0, 1]
    assert abs(correlation) < 3 / 10_000**0.5
    assert abs(drop["a"].double().mean() - 0.3) < 3 * (0.3 * 0.7 / 10_000) ** 0.5


def test_draws_repeat_with_the_generator_s_seed(conditioner):
    first, again, other = (conditioner.draw_drop(64, generator(seed)) for seed in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in conditioner.names)
    assert any(not torch.equal(first[name], other[name]) for name in conditioner.names)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_dropout_never_and_always(chance):
    drop = Conditioner({"class": ClassSource(CLASSES, D, dropout=chance)}).draw_drop(1000, generator())
    assert drop["class"].double().mean() == chance


def test_zero_null_says_nothing():
    zero = Conditioner({"class": ClassSource(CLASSES, D, learned_null=False)})
    assert torch.equal(zero.null(2).vector, torch.zeros(2, D))
    assert "sources.class.null_vector" not in zero.state_dict()


def test_learned_null_is_trained():
    learned = Conditioner({"class": ClassSource(CLASSES, D)})
    features = learned.embed({"class": ["Kitchen", "Bathroom"]})
    learned(features, {"class": torch.tensor([True, False])}).vector.sum().backward()
    assert torch.equal(learned.sources["class"].null_vector.grad, torch.ones(D))


def test_each_source_by_itself_for_guidance_with_several_scales(conditioner, batch):
    features = conditioner.embed(batch, ["text", "image"])
    separate = conditioner.separately(features)
    assert separate.batch_size == 6
    lost = torch.ones(3, dtype=torch.bool)
    for rows, kept in ((slice(0, 3), "text"), (slice(3, 6), "image")):
        alone = conditioner(features, {name: lost for name in features if name != kept})
        torch.testing.assert_close(separate.rows(rows).vector, alone.vector)
        for row in range(3):
            one, other = separate.rows(rows), alone
            assert torch.equal(one.tokens[row][one.mask[row]], other.tokens[row][other.mask[row]])


def test_no_sources_no_condition():
    empty = Conditioner({})
    assert empty.embed({"caption": ["x"]}) == {}
    assert empty.draw_drop(4, generator()) == {}
    assert empty({}) == empty.null(4) == Condition()


def test_frozen_encoders_are_neither_parameters_nor_in_the_checkpoint(conditioner, batch):
    conditioner.embed(batch)
    held = sum(parameter.numel() for parameter in conditioner.parameters())
    projections = 3 * D + (24 + 1) * D + (32 + 1) * D + 2 * (8 + 1) * D + 16 * D
    nulls = (1 + 2 + 2) * D
    assert held == projections + nulls
    statistics = {f"sources.{name}.vector_{kind}" for name in ("text", "image") for kind in ("mean", "std")}
    assert set(conditioner.state_dict()) == {name for name, _ in conditioner.named_parameters()} | statistics


def test_embedding_has_no_gradient_and_projection_has(conditioner, batch):
    features = conditioner.embed(batch)
    assert not any(held.vector.requires_grad for held in features.values())
    condition = conditioner(features)
    (condition.vector.sum() + condition.tokens.sum()).backward()
    nulls = {"null_vector", "null_token"}
    got = {name for name, p in conditioner.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert got == {name for name, _ in conditioner.named_parameters() if name.split(".")[-1] not in nulls}


def test_each_string_is_encoded_once(conditioner, monkeypatch):
    text = conditioner.sources["text"]
    calls = []
    encode = text.encoder.encode
    monkeypatch.setattr(text.encoder, "encode", lambda texts, device: calls.extend(texts) or encode(texts, device))
    for _ in range(3):
        conditioner.embed({"caption": ["a bathtub", "a red armchair", "a bathtub"]}, ["text"])
    assert calls == ["a bathtub", "a red armchair"]


def test_a_full_cache_forgets_the_least_recently_used(clip_folder):
    text = TextSource(ClipTextEncoder(str(clip_folder)), D, cache_size=2)
    text.embed(["a", "b", "a", "c"], torch.device("cpu"))
    assert list(text._cache) == ["a", "c"]


def test_batch_of_one_is_the_row_of_a_batch(conditioner, batch):
    whole = conditioner.embed(batch)
    for row in range(3):
        one = conditioner.embed({key: values[row : row + 1] for key, values in batch.items()})
        for name, held in one.items():
            same = whole[name].rows(slice(row, row + 1))
            torch.testing.assert_close(held.vector, same.vector, atol=2e-3, rtol=2e-3)
            if held.tokens is not None:
                torch.testing.assert_close(held.tokens[held.mask], same.tokens[same.mask], atol=2e-3, rtol=2e-3)
    text, alone = whole["text"], conditioner.embed({"caption": batch["caption"][1:2]}, ["text"])["text"]
    assert torch.equal(alone.vector[0], text.vector[1])  # strings are encoded by themselves: bit for bit
    assert torch.equal(alone.tokens[0], text.tokens[1][text.mask[1]])


def test_features_that_are_at_hand_are_taken_instead_of_the_encoder(conditioner, batch, monkeypatch):
    live = conditioner.embed(batch)
    fresh = {name: held for name, held in batch.items() if name == "class"}
    monkeypatch.setattr(conditioner.sources["text"], "embed", None)
    stored = conditioner.embed({**fresh, "features": {"text": live["text"], "image": live["image"]}})
    assert torch.equal(conditioner(stored).tokens, conditioner(live).tokens)
    assert torch.equal(conditioner(stored).vector, conditioner(live).vector)


def test_copies_carry_no_encoder_weights(conditioner, batch):
    conditioner.embed(batch)
    encoder = conditioner.sources["text"].encoder
    assert "network" in vars(encoder)
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert set(vars(copied)) == {"model", "layer", "may_fetch"}
        assert torch.equal(
            copied.encode(["a bathtub"], torch.device("cpu")).vector,
            encoder.encode(["a bathtub"], torch.device("cpu")).vector,
        )


@pytest.mark.parametrize(
    ("name", "offered"),
    [("Kichen", "did you mean Kitchen"), ("bathroom", "did you mean Bathroom"), ("spaceship", "known are Bathroom")],
)
def test_an_unknown_class_suggests_the_nearest(name, offered):
    source = ClassSource(CLASSES, D)
    with pytest.raises(UserError, match=offered):
        source.embed([name], torch.device("cpu"))


def test_class_names_must_be_there_and_differ():
    with pytest.raises(UserError, match=r"conditioner\.classes is empty"):
        ClassSource(None, D)
    with pytest.raises(UserError, match="Bed more than once"):
        ClassSource(["Bed", "Sofa", "Bed"], D)


def test_mixtures_of_classes_are_meant():
    source = ClassSource(CLASSES, D)
    half = source(Features(torch.tensor([[0.5, 0.5, 0.0]]))).vector
    ends = source(source.embed(CLASSES[:2], torch.device("cpu"))).vector
    torch.testing.assert_close(half[0], ends.mean(0))


def test_what_is_missing_is_named(conditioner):
    with pytest.raises(UserError, match="'image' reads 'image', but the data has only caption, class"):
        conditioner.embed({"class": ["Kitchen"], "caption": ["a sink"]})
    with pytest.raises(UserError, match="no source 'sound'"):
        conditioner.embed({}, ["sound"])
    with pytest.raises(UserError, match="no source 'sound'"):
        conditioner({"sound": Features(torch.zeros(1, 2))})


def test_compose_builds_only_what_is_named():
    built = []

    def part(name):
        return lambda width: built.append(name) or ClassSource(CLASSES, width)

    parts = {name: part(name) for name in ("a", "b", "c")}
    assert compose(["c", "a"], parts, D).names == ("c", "a")
    assert built == ["c", "a"]
    with pytest.raises(UserError, match=r"conditioner\.sources names d, but the parts are a, b, c"):
        compose(["d"], parts, D)


def test_condition_survives_training_state(conditioner, batch):
    features = conditioner.embed(batch)
    other = copy.deepcopy(conditioner)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(conditioner.state_dict())
    assert torch.equal(other(features).tokens, conditioner(features).tokens)


class TestWithoutProjection:
    """Features as they are, for a backbone that projects them itself."""

    def test_a_text_is_its_vector_at_unit_length(self, clip_folder, batch):
        encoder = ClipTextEncoder(str(clip_folder))
        source = TextSource(encoder, 24, tokens=False, learned_null=False, projection=False)
        raw = encoder.encode(batch["caption"][:1], torch.device("cpu")).vector
        condition = source(source.embed(batch["caption"], torch.device("cpu")))
        torch.testing.assert_close(condition.vector[:1], raw / raw.norm(), rtol=0, atol=1e-3)  # stored in float16
        torch.testing.assert_close(condition.vector.norm(dim=1), torch.ones(3))
        assert not source.state_dict()
        assert not source.null(2).vector.any()

    def test_a_picture_is_its_grid_and_its_null_as_many_zeros(self, batch):
        source = ImageSource(grid_encoder(), 8, vector=False, learned_null=False, projection=False)
        conditioner = Conditioner({"image": source})
        features = conditioner.embed(batch)
        assert torch.equal(conditioner(features).tokens, features["image"].tokens.float())
        dropped = conditioner(features, {"image": torch.tensor([False, True, False])})
        assert torch.equal(dropped.tokens[0], features["image"].tokens[0].float())
        assert torch.equal(dropped.tokens[1], torch.zeros(16, 8))
        assert dropped.mask.all()
        assert torch.equal(conditioner.null(2).tokens, torch.zeros(2, 16, 8))
        assert not conditioner.state_dict()

    def test_another_width_than_the_features_is_refused(self, clip_folder):
        with pytest.raises(UserError, match=r"conditioner.width=16.*24 wide: set conditioner.width=24"):
            TextSource(ClipTextEncoder(str(clip_folder)), 16, tokens=False, projection=False)
