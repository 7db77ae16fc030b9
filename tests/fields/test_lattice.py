"""Where a lattice's and a triplane's rows lie in the box, and how features are read between them."""

import pytest
import torch

from fieldforge.fields.lattice import LatticeField, TriplaneField


def centres(count: int) -> torch.Tensor:
    """Centres of `count` equal cells of [-1, 1]."""
    return (torch.arange(count) + 0.5) * 2 / count - 1


def test_lattice_rows_lie_where_the_docstring_says():
    field = LatticeField(resolution=6, features=1, hidden=4, generated=False)
    params = {"lattice": torch.arange(6.0**3).view(1, 6**3, 1)}
    i, j, k = 4, 1, 5
    point = centres(6)[torch.tensor([i, j, k])].view(1, 1, 3)
    assert field.features(point, params).item() == pytest.approx((i * 6 + j) * 6 + k, rel=1e-5)


def test_lattice_is_exact_for_linear_functions_between_its_centres():
    field = LatticeField(resolution=8, features=1, hidden=4, generated=False)
    x, y, z = torch.meshgrid(*[centres(8)] * 3, indexing="ij")
    volume = 2 * x - 3 * y + 0.5 * z + 1  # (X, Y, Z)
    rows = volume.reshape(1, 512, 1)
    points = torch.rand(1, 100, 3, generator=torch.Generator().manual_seed(0)) * 1.7 - 0.85
    expected = points @ torch.tensor([2.0, -3.0, 0.5]) + 1
    torch.testing.assert_close(field.features(points, {"lattice": rows})[..., 0, 0], expected, rtol=1e-4, atol=1e-4)


def test_triplane_reads_each_plane_by_its_two_coordinates():
    field = TriplaneField(resolution=8, features=1, hidden=4, generated=False)
    u, v = torch.meshgrid(centres(8), centres(8), indexing="ij")
    plane = (u + 10 * v).reshape(1, 64, 1)
    points = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 1.7 - 0.85
    read = field.features(points, {"planes": plane.repeat(1, 3, 1)})[..., 0]  # (1, N, 3)
    x, y, z = points.unbind(-1)
    torch.testing.assert_close(read, torch.stack([x + 10 * y, x + 10 * z, y + 10 * z], -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [LatticeField, TriplaneField])
def test_a_generated_weight_of_zero_leaves_the_shared_one(kind):
    torch.manual_seed(0)
    field = kind(resolution=4, features=3, hidden=8, generated=True)
    params = {name: torch.randn(2, *shape) for name, shape in field.param_shapes.items()}
    points = torch.rand(2, 10, 3) * 2 - 1
    params["weight"] = torch.zeros_like(params["weight"])
    with_zero = field.query(points, params)
    field.generated = False
    torch.testing.assert_close(with_zero["sdf"], field.query(points, params)["sdf"])
    field.generated = True
    params["weight"] = torch.randn_like(params["weight"])
    assert not torch.allclose(with_zero["sdf"], field.query(points, params)["sdf"])


def test_parameters_of_another_field_are_refused():
    field = LatticeField(resolution=2, features=3, hidden=8, generated=False)
    with pytest.raises(ValueError, match="'lattice' is missing"):
        field.query(torch.zeros(1, 1, 3), {"planes": torch.zeros(1, 12, 3)})
    with pytest.raises(ValueError, match=r"must be \(B, 8, 3\)"):
        field.query(torch.zeros(1, 1, 3), {"lattice": torch.zeros(1, 8, 12)})
