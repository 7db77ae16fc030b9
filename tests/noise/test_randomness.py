"""A step's random numbers belong to samples, not to processes."""

import scipy.stats
import torch

from fieldforge.noise.randomness import RowRandomness, StepRandomness, normal, uniform


def dealt(processes: int, batch: int = 8, **named) -> list[StepRandomness]:
    return [StepRandomness(0, 5, range(rank, batch, processes), batch, **named) for rank in range(processes)]


def together(parts: list[torch.Tensor]) -> torch.Tensor:
    """Rows of several processes in the order of the batch."""
    return torch.stack(parts, 1).flatten(0, 1)


def test_the_number_of_processes_changes_nothing():
    one, four = dealt(1), dealt(4)
    for draw in (
        lambda randomness: randomness.normal(3, 5),
        lambda randomness: randomness.uniform(2),
        lambda randomness: randomness.stratified(),
        lambda randomness: randomness.normal(),
    ):
        assert torch.equal(draw(one[0]), together([draw(part) for part in four]))


def test_rows_differ_and_so_do_steps_seeds_purposes_and_draws():
    def first(*arguments, **named):
        return StepRandomness(*arguments, **named).normal(2)

    randomness = StepRandomness(0, 5, range(4), 4)
    rows = [*randomness.normal(2), *randomness.normal(2)]
    others = [first(1, 5, [0], 4)[0], first(0, 6, [0], 4)[0], first(0, 5, [0], 4, purpose="validation")[0]]
    assert len({tuple(row.tolist()) for row in [*rows, *others]}) == len(rows) + len(others)


def test_laws():
    many = range(2000)
    assert scipy.stats.kstest(StepRandomness(0, 0, many, 2000).normal().numpy(), "norm").pvalue > 1e-3
    assert scipy.stats.kstest(StepRandomness(0, 0, many, 2000).uniform().numpy(), "uniform").pvalue > 1e-3


def test_place_in_the_batch_says_nothing_of_the_stratum():
    drawn = torch.stack([StepRandomness(0, step, range(4), 4).stratified() for step in range(2000)])
    for place in range(4):
        assert scipy.stats.kstest(drawn[:, place].numpy(), "uniform").pvalue > 1e-3


def test_rows_of_any_number_differ():
    numbers = [5, 5 + 2**54, 5 + 2**40, 2**62 - 1, -5]
    drawn = RowRandomness("sampling", numbers).normal(64)
    assert len({tuple(row.tolist()) for row in drawn}) == len(numbers)
    for number, row in zip(numbers, drawn, strict=True):
        assert torch.equal(RowRandomness("sampling", [number]).normal(64)[0], row)


def test_choices_are_alike_in_all_processes_and_evenly_likely():
    steps = [dealt(2)[0]] + [StepRandomness(0, step, [0], 1) for step in range(3000)]
    assert dealt(2)[0].choice(7) == dealt(2)[1].choice(7)
    counts = torch.bincount(torch.tensor([step.choice(3) for step in steps[1:]]), minlength=3)
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_nothing_is_copied_to_the_device_and_nothing_read_back():
    step = StepRandomness(0, 5, range(1, 8, 2), 8, torch.device("meta"))  # raises where a value is asked for
    drawn = (step.normal(3, 5), step.uniform(2), step.stratified(), step.normal())
    assert [tuple(part.shape) for part in drawn] == [(4, 3, 5), (4, 2), (4,), (4,)]
    assert {part.device.type for part in drawn} == {"meta"}
    assert step.choice(5) < 5


def test_strata_are_covered_by_all_processes_together():
    drawn = torch.cat([part.stratified() for part in dealt(4)])
    assert sorted((drawn * 8).floor().long().tolist()) == list(range(8))


def test_plain_generators_do_where_there_is_no_step():
    assert uniform((4, 3), torch.Generator().manual_seed(0)).shape == (4, 3)
    assert torch.equal(normal((2, 3), StepRandomness(0, 0, [0, 1], 2)), StepRandomness(0, 0, [0, 1], 2).normal(3))
