"""What rounding changes is told of fields whose parameters are not alike in size."""

from types import SimpleNamespace

import torch
from tests.autoencoder.test_sparse import autoencoder, sphere

from fieldforge.publishing.rounding import outcome, relative_error


def drawing(latents: torch.Tensor):
    """In the place of a generator: draws what is given."""
    generator = SimpleNamespace(sampler=SimpleNamespace(steps=2))
    generator.with_steps = lambda steps: lambda conditions, seeds, guidance: latents
    return generator


def test_fields_with_other_active_cells_are_compared_by_their_values():
    model = autoencoder()
    with torch.no_grad():
        latents = model.encode({"input": sphere(batch=2)})
    other = latents.clone()
    number = int((latents[:, :, 0] > 0).any(0).nonzero()[0])
    other[:, number] = -1  # one cell less
    exact, changed = (outcome(drawing(each), model) for each in (latents, other))
    assert relative_error(exact, exact) == 0
    assert 0 < relative_error(exact, changed) < 1
    assert relative_error(exact, [torch.full_like(exact[0], torch.nan), *changed[1:]]) == float("inf")
