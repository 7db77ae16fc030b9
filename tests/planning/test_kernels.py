"""What a kernel reads and writes, counted by hand."""

import torch

from fieldforge.planning.kernels import Kernels

SIZE = 1000


def test_an_optimizer_that_changes_lists_of_tensors_writes_all_of_them():
    weights = [torch.zeros(SIZE, requires_grad=True) for _ in range(3)]
    optimizer = torch.optim.AdamW(weights, fused=True)
    for weight in weights:
        weight.grad = torch.ones(SIZE)
    optimizer.step()  # creates its state
    with Kernels() as kernels:
        optimizer.step()
    # Weights, gradients and two moments are read; weights and moments are written, and a gradient by its declaration.
    assert 7 * 4 * 3 * SIZE <= max(kernels.rows[:, 1]) <= 8 * 4 * 3 * SIZE + 100


def test_a_product_and_a_sum_in_place():
    a, b = torch.ones(4, 8), torch.ones(8, 16)
    with Kernels() as kernels:
        c = a @ b
        c += 1
    assert kernels.rows.tolist() == [
        [2 * 4 * 8 * 16, 4 * (4 * 8 + 8 * 16 + 4 * 16), 1, 4, 16, 0],
        [0, 2 * 4 * 4 * 16, 0, 0, 0, 0],
    ]


def test_a_convolution_and_its_backward_pass():
    convolution, x = torch.nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.ones(5, 2, 8, 8, requires_grad=True)
    with Kernels() as kernels:
        convolution(x).sum().backward()
    operations, _, products, rows, columns, _ = kernels.rows[kernels.rows[:, 5] == 1].T
    forward = 2 * 9 * 2 * 3 * 5 * 64
    assert operations.tolist() == [forward] * 3  # the result, then the gradients of the input and of the weights
    assert [*zip(products, rows, columns, strict=True)] == [(1, 320, 3), (1, 320, 2), (1, 3, 18)]
