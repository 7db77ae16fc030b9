"""Which points begin as tokens: spread by distance, half of them at the edges."""

import torch
import torch.nn.functional as F

from fieldforge.autoencoder.point_queries import farthest_points, sharpness, spread_points


def cube(count: int = 3000) -> torch.Tensor:
    """Grey points on the faces of the cube [-0.9, 0.9]³ with their normals: (2, count, 9)."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.randint(3, (2, count), generator=generator)
    normals = F.one_hot(axis, 3) * (torch.randint(2, (2, count, 1), generator=generator) * 2 - 1)
    within = torch.rand(2, count, 3, generator=generator) * 1.8 - 0.9
    points = torch.where(normals != 0, 0.9 * normals, within)
    return torch.cat([points, normals, torch.full_like(points, 0.5)], -1)


def from_edge(points: torch.Tensor) -> torch.Tensor:
    """Distance along the face to the cube's nearest edge: its second largest coordinate says it."""
    return 0.9 - points.abs().sort(dim=-1).values[..., 1]


def test_each_point_is_the_farthest_from_those_before_it() -> None:
    generator = torch.Generator().manual_seed(0)
    points, weight = torch.rand(2, 30, 3, generator=generator), torch.rand(2, 30, generator=generator)
    index = farthest_points(points, weight, 30)
    assert torch.equal(index[:, 0], weight.argmax(1))
    for row in range(2):
        for place in range(1, 30):
            apart = torch.cdist(points[row], points[row, index[row, :place]]).amin(1) * weight[row]
            torch.testing.assert_close(apart[index[row, place]], apart.max())
        assert sorted(index[row].tolist()) == list(range(30))
    assert torch.equal(farthest_points(points, weight, 7), index[:, :7])


def test_flat_parts_and_lone_points_are_blunt_and_edges_sharp() -> None:
    surface = cube()
    value, distance = sharpness(surface), from_edge(surface[..., :3])
    assert ((value > -1e-6) & (value <= 1)).all()
    torch.testing.assert_close(value[distance > 0.3], torch.zeros_like(value[distance > 0.3]), atol=1e-6, rtol=0)
    assert value[distance < 0.02].mean() > 0.15
    torch.testing.assert_close(sharpness(surface[:, :1]), torch.zeros(2, 1))


def test_every_second_query_lies_at_an_edge() -> None:
    surface = cube()
    index = spread_points(surface, 101)
    assert index.shape == (2, 101)
    distance = from_edge(surface[..., :3]).gather(1, index)
    everywhere = from_edge(surface[..., :3]).mean()
    assert distance[:, 1::2].mean() < 0.3 * everywhere
    assert distance[:, ::2].mean() > 0.5 * everywhere


def test_a_flat_shape_gets_as_many_points_evenly() -> None:
    sheet = torch.rand(1, 2000, 9, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sheet[..., 2:6] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    spread = sheet[0, spread_points(sheet, 64)[0], :2]
    for half in (spread[::2], spread[1::2]):
        apart = torch.cdist(half, half).fill_diagonal_(9).amin(1)
        assert apart.min() > 0.2, "32 points on 2 × 2 can be 0.38 apart"


def test_fewer_queries_are_the_beginning_of_more() -> None:
    surface = cube(100)
    assert torch.equal(spread_points(surface, 33), spread_points(surface, 100)[:, :33])
    assert spread_points(surface, 1).tolist() == [[0], [0]]
