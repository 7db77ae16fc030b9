"""Active cells: their numbers, their neighbours, and a network that sees no further than it should."""

import torch

from fieldforge.nn.cells import ActiveCells, CellNetwork


def mask(batch: int = 2, cells: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, cells**3, generator=torch.Generator().manual_seed(seed)) < 0.4


def test_numbers_places_and_slots():
    active = ActiveCells.of(mask(), 4)
    rows = [(b, x, y, z) for b, x, y, z in mask().view(2, 4, 4, 4).nonzero().tolist()]
    assert [[int(b), *place] for b, place in zip(active.sample, active.place.tolist(), strict=True)] == [
        list(row) for row in rows
    ]
    first = int(mask()[0].sum())
    assert active.slot.tolist() == [*range(first), *range(len(rows) - first)]


def test_around_names_the_cells_beside():
    active = ActiveCells.of(mask(), 4)
    number = {
        (int(b), *place): n for n, (b, place) in enumerate(zip(active.sample, active.place.tolist(), strict=True))
    }
    for n, (b, place) in enumerate(zip(active.sample.tolist(), active.place.tolist(), strict=True)):
        steps = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
        expected = [number.get((b, *(p + s for p, s in zip(place, step, strict=True))), len(active)) for step in steps]
        assert active.around[n].tolist() == expected


def test_samples_do_not_see_each_other():
    network = CellNetwork(4, 16, 2, 4).eval()
    both, alone = ActiveCells.of(mask(), 4), ActiveCells.of(mask()[1:], 4)
    x = torch.randn(len(both), 16, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(network(x, both)[-len(alone) :], network(x[-len(alone) :], alone), atol=1e-6)


def test_a_block_sees_one_cell_far():
    whole = torch.ones(1, 5**3, dtype=torch.bool)
    active = ActiveCells.of(whole, 5)
    network = CellNetwork(5, 16, 1, 4)
    x = torch.randn(125, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    network(x, active)[0].sum().backward()
    seen = (x.grad.abs().sum(-1) > 0).nonzero()[:, 0]
    assert set(active.place[seen].flatten().tolist()) == {0, 1}
    assert len(seen) == 8


def test_no_active_cell_is_no_token():
    active = ActiveCells.of(torch.zeros(2, 64, dtype=torch.bool), 4)
    assert CellNetwork(4, 16, 1, 4)(torch.zeros(0, 16), active).shape == (0, 16)
