"""What finished networks compute outside of the steps is the same for any number of processes."""

import signal

import pytest
import torch
from tests.runs.conftest import Place
from tests.runs.tiny import write_balls

from fieldforge.configuration.build import build
from fieldforge.stages import encoding
from fieldforge.stages.encoding import measure_statistics
from fieldforge.stages.samples import sample_data
from fieldforge.training.processes import ranks

CPU = torch.device("cpu")


def as_processes(monkeypatch, world: int) -> None:
    """Shared work is done for each process in turn, in this one."""

    def shared(work):
        results = []
        for rank in range(world):
            monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
            results.append(work())
        return results

    monkeypatch.setattr(ranks, "world", lambda: world)
    monkeypatch.setattr(ranks, "shared", shared)


def test_statistics_of_latents_are_those_of_one_process(tmp_path, monkeypatch):
    place = Place(write_balls(tmp_path / "balls", train=11), tmp_path)
    config = place.compose()
    data, domain, autoencoder = sample_data(config), build(config, "domain"), build(config, "autoencoder").eval()
    monkeypatch.setattr(encoding, "LEAST", 2)
    measured = []
    for world in (1, 2, 4, 7):
        as_processes(monkeypatch, world)
        autoencoder.set_statistics(torch.zeros_like(autoencoder.latent_mean), torch.ones_like(autoencoder.latent_std))
        measure_statistics(autoencoder, data, domain, 2, CPU)
        measured.append(torch.stack([autoencoder.latent_mean, autoencoder.latent_std]).clone())
    assert all(torch.equal(each, measured[0]) for each in measured)
    latents = torch.cat(
        [autoencoder.encode(b) for b in data.spans_loader("train", [(0, 11)], domain.input_transforms(), 2)]
    )
    torch.testing.assert_close(latents.mean((0, 1)), torch.zeros(latents.shape[-1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.std((0, 1), correction=0), torch.ones(latents.shape[-1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("world", [1, 3])
def test_a_request_to_stop_ends_the_measurement(tmp_path, monkeypatch, world):
    place = Place(write_balls(tmp_path / "balls", train=4), tmp_path)
    config = place.compose()
    as_processes(monkeypatch, world)
    monkeypatch.setattr(ranks, "stop_request", lambda: True)
    monkeypatch.setattr(encoding.interruption, "noted", lambda: signal.SIGTERM)
    with pytest.raises(encoding.interruption.Interrupted):
        measure_statistics(build(config, "autoencoder"), sample_data(config), build(config, "domain"), 2, CPU)
