"""The promises of the stream: exact, resumable bit for bit, elastic, on real shards and through real loaders."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.make import write_latents, write_spheres

from fieldforge.data.heldout import HeldOut
from fieldforge.data.order import Mixing, rank_positions
from fieldforge.data.shape_transforms import Distances, Surface, ViewRays
from fieldforge.data.shards import open_shards
from fieldforge.data.stream import SampleStream
from fieldforge.data.transforms import Labels, Latent
from fieldforge.errors import UserError


def noisy_latent(sample: Any, generator: np.random.Generator) -> dict:
    """A transform with a random choice in it, so that equality of batches covers the generators too."""
    latent = Latent()(sample, generator)["latent"]
    return {"latent": latent, "noise": generator.normal(size=3), "key": sample["meta.json"]["id"]}


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    write_latents(folder, 23, 4)
    return folder


@pytest.fixture(scope="module")
def spheres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spheres")
    write_spheres(folder, 10, 3, heldout=5)
    return folder


def stream(folder: Path, **options: Any) -> SampleStream:
    defaults: dict[str, Any] = {"seed": 3, "batch_size": 6, "mixing": Mixing(slots=4, mix_shards=2)}
    return SampleStream(open_shards(folder, "train"), [noisy_latent], **{**defaults, **options})


def assert_equal(ours: Iterable[dict], theirs: Iterable[dict]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            assert torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name], name


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_resumed_anywhere_equals_uninterrupted(latents: Path, data: st.DataObject) -> None:
    batch_size = data.draw(st.sampled_from([2, 6, 10, 30]))
    resumed_at = data.draw(st.integers(0, 8))
    mixing = Mixing(data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4)))
    options = {"batch_size": batch_size, "mixing": mixing, "world_size": 2, "rank": data.draw(st.integers(0, 1))}
    whole = list(islice(stream(latents, **options), 12))
    tail = list(islice(stream(latents, **options, position=resumed_at * batch_size), 12 - resumed_at))
    assert_equal(whole[resumed_at:], tail)


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_each_sample_once_an_epoch_though_ranks_and_batches_change(latents: Path, data: st.DataObject) -> None:
    position, seen = 0, {}
    while position < 46:
        world_size = data.draw(st.integers(1, 3))
        batch_size = world_size * data.draw(st.integers(1, 4))
        count = data.draw(st.integers(1, 3))
        for rank in range(world_size):
            layout = {"batch_size": batch_size, "world_size": world_size, "rank": rank}
            for number, batch in enumerate(islice(stream(latents, position=position, **layout), count)):
                places = rank_positions(position + number * batch_size, batch_size, rank, world_size)
                seen.update(zip(places.tolist(), batch["key"], strict=True))
        position += count * batch_size
    for epoch in range(2):
        keys = [seen[place] for place in range(23 * epoch, 23 * (epoch + 1))]
        assert sorted(keys) == [f"s{number:06d}" for number in range(23)]


def test_a_change_of_layout_keeps_the_samples_of_each_batch(latents: Path) -> None:
    """The same global batch, whoever reads it: augmentations hang on the position, not on rank or worker."""

    def by_key(batches: list[dict]) -> dict:
        return {
            key: noise for batch in batches for key, noise in zip(batch["key"], batch["noise"].tolist(), strict=True)
        }

    alone = list(islice(stream(latents), 3))
    ranks = [list(islice(stream(latents, rank=rank, world_size=3), 3)) for rank in range(3)]
    for number in range(3):
        assert by_key([alone[number]]) == by_key([rank[number] for rank in ranks])


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_change_nothing(latents: Path, workers: int) -> None:
    def loader(workers: int, position: int = 0) -> Iterable[dict]:
        return torch.utils.data.DataLoader(stream(latents, position=position), batch_size=None, num_workers=workers)

    whole = list(islice(loader(0), 10))
    assert_equal(whole, list(islice(loader(workers), 10)))
    assert_equal(whole[7:], list(islice(loader(workers, position=7 * 6), 3)))


def test_real_transforms_resume_bit_for_bit(spheres: Path) -> None:
    transforms = [Surface(16), Distances(8, 8), ViewRays(12, views=2), Labels()]

    def batches(position: int, count: int) -> list[dict]:
        shards = open_shards(spheres, "train")
        return list(
            islice(SampleStream(shards, transforms, seed=0, batch_size=4, mixing=Mixing(), position=position), count)
        )

    assert_equal(batches(0, 6)[4:], batches(16, 2))


def test_shards_before_the_position_are_not_read(latents: Path, tmp_path: Path) -> None:
    """A resumed run opens only the shards of the batches that it makes."""
    resumed = stream(latents, position=20, batch_size=2)
    read: list[str] = []
    store, _ = resumed.shards[0]
    plain = store.read
    store.read = lambda name, *where: (read.append(name), plain(name, *where))[1]  # type: ignore[method-assign]
    next(iter(resumed))
    wanted = {resumed.shards[int(shard)][1].name for shard in resumed.order.locate(np.arange(20, 24))[0]}
    assert {name for name in read if name.endswith(".tar")} <= wanted


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_heldout_gives_every_sample_once_and_no_rank_runs_out(spheres: Path, world_size: int, batch_size: int) -> None:
    shards = open_shards(spheres, "heldout")
    ranks = [
        HeldOut(shards, [noisy_meta], seed=0, batch_size=batch_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    result = [list(rank) for rank in ranks]
    assert {len(batches) for batches in result} == {len(ranks[0])}
    keys = [key for batches in result for batch in batches for key in batch["key"]]
    assert sorted(keys) == [f"heldout{number:06d}" for number in range(5)]
    sizes = [len(batch["key"]) for batches in result for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size + (5 % world_size > 0)
    assert_equal(result[0], list(ranks[0]))  # again: the same random choices


def test_with_fewer_heldout_samples_than_ranks_none_is_without(spheres: Path) -> None:
    shards = open_shards(spheres, "heldout")
    result = [
        [
            batch["key"]
            for batch in HeldOut(shards, [noisy_meta], seed=0, batch_size=3, rank=rank, world_size=4, limit=3)
        ]
        for rank in range(4)
    ]
    assert result == [[[f"heldout{number:06d}"]] for number in (0, 1, 2, 0)]


def noisy_meta(sample: Any, generator: np.random.Generator) -> dict:
    return {"key": sample["meta.json"]["id"], "noise": generator.normal(size=2)}


def test_heldout_through_workers(spheres: Path) -> None:
    shards = open_shards(spheres, "heldout")
    dataset = HeldOut(shards, [noisy_meta], seed=0, batch_size=2, limit=4)
    assert_equal(list(dataset), list(torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)))
    assert [key for batch in dataset for key in batch["key"]] == [f"heldout{number:06d}" for number in range(4)]


def test_wrong_options_are_named(latents: Path) -> None:
    with pytest.raises(UserError, match="on_bad_shard"):
        stream(latents, on_bad_shard="ignore")
    with pytest.raises(UserError, match="slots"):
        Mixing(slots=0)
