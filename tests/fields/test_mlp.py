"""A perceptron as a field: its heads against the same layers written out."""

import pytest
import torch

from fieldforge.fields.mlp import MLPField, ShapeMLPField
from fieldforge.nn.embeddings import positional_encoding


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_heads_are_those_of_the_layers_written_out(dimensions: int) -> None:
    torch.manual_seed(0)
    field = MLPField({"pressure": 0, "rgb": 3}, dimensions, hidden=8, layers=2, generated=1, degrees=2)
    points = torch.rand(2, 5, dimensions) * 2 - 1
    change = torch.randn(2, *field.param_shapes["weight_0"])
    values = field.query(points, {"weight_0": change})
    assert (values["pressure"].shape, values["rgb"].shape) == ((2, 5), (2, 5, 3))
    for row in range(2):
        hidden = positional_encoding(points[row], 2) @ (field.base[0] + change[row]).T + field.biases[0]
        hidden = torch.nn.functional.silu(hidden) @ field.base[1].T + field.biases[1]
        out = torch.nn.functional.silu(hidden) @ field.head.weight.T + field.head.bias
        torch.testing.assert_close(values["pressure"][row], out[:, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values["rgb"][row], out[:, 1:], atol=1e-5, rtol=1e-5)


def test_a_shape_is_empty_before_anything_is_learned() -> None:
    field = ShapeMLPField(hidden=8, layers=2, generated=1, degrees=2, initial_distance=0.5)
    with torch.no_grad():
        field.head.weight.zero_()
        values = field.query(torch.zeros(1, 3, 3), {"weight_0": torch.zeros(1, *field.param_shapes["weight_0"])})
    assert values.keys() == set(field.heads)
    torch.testing.assert_close(values["sdf"], torch.full((1, 3), 0.5))
    assert (values["density"] < 1e-3).all()


def test_layers_and_generated_have_to_fit() -> None:
    with pytest.raises(ValueError, match="generated=3 must be between 1 and layers=2"):
        MLPField({"rgb": 3}, layers=2, generated=3)
