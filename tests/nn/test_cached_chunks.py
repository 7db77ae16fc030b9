import torch
from torch import nn

from fieldforge.nn import cached_chunks
from fieldforge.nn.cached_chunks import in_cached_chunks


def test_chunks_give_what_the_whole_gives_and_its_gradients(monkeypatch):
    monkeypatch.setattr(cached_chunks, "ROWS", 10)
    torch.manual_seed(0)
    network, calls = nn.Linear(6, 2).double(), []

    def ask(points, directions):
        calls.append(points.shape[1])
        return network(torch.cat([points, directions], -1)).sin()

    points, directions = torch.randn(2, 2, 3 * 5 * torch.get_num_threads() + 1, 3, dtype=torch.float64)
    chunked = in_cached_chunks(ask, points, directions)
    assert calls == [5 * torch.get_num_threads()] * 3 + [1]
    chunked.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    whole = ask(points, directions)
    whole.square().sum().backward()
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(gradients, [parameter.grad for parameter in network.parameters()])


def test_no_points_and_no_directions_are_asked_too():
    assert in_cached_chunks(lambda points, directions: points, torch.zeros(2, 0, 3), None).shape == (2, 0, 3)
    assert in_cached_chunks(lambda points, directions: points, torch.zeros(0, 4, 3), None).shape == (0, 4, 3)


def test_other_devices_are_asked_at_once():
    calls = []
    in_cached_chunks(lambda points, _: calls.append(points) or points, torch.zeros(1, 10**6, 3, device="meta"), None)
    assert len(calls) == 1
