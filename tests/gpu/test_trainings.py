"""Every design trains on a GPU in bfloat16, resumes, and gives the latents that a CPU gives."""

import math
import signal

import numpy as np
import pytest
import torch
from tests.gpu.conftest import ACCELERATOR
from tests.runs.conftest import Place
from tests.runs.tiny import SignalAt

from fieldforge.conditioning.stored import samples_of
from fieldforge.configuration.build import build
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError
from fieldforge.runs.train import run_training
from fieldforge.stages import training_run
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.samples import sample_data
from fieldforge.training.callbacks.metrics_table import read_table
from fieldforge.training.processes import interruption
from fieldforge.training.processes.interruption import Interrupted

STEPS = 20
POINTS = ["data.transforms.surface.points=256", "domain.points=256"]
ON = [f"trainer.accelerator={ACCELERATOR}", "callbacks.pictures=null", *POINTS]
ROUNDED = [*ON, "trainer.precision=bf16-mixed"]
DESIGNS = {
    "planes": [],
    "lattice": ["autoencoder=lattice"],
    "vector_set": ["autoencoder=vector_set", "autoencoder.encoder.width=32"],
    "shap_e": ["autoencoder=shap_e_small"],
    "sparse": ["autoencoder=sparse", "autoencoder_loss=sparse"],
    "quadrics": ["autoencoder=quadrics", "autoencoder_loss=sparse", "stages=[autoencoder]"],  # its latents are many
}


def budget(stage: str, steps: int = STEPS) -> str:
    return f"training.{stage}.budget={{max_steps:{steps},warmup_steps:2,max_minutes:null,min_steps:0}}"


def losses(run) -> list[float]:
    return [row["train/loss"] for row in read_table(run.path / "metrics.csv").values() if "train/loss" in row]


@pytest.mark.parametrize("design", DESIGNS)
def test_both_stages_take_their_steps(place: Place, design: str) -> None:
    words = [*ROUNDED, *DESIGNS[design], f"name={design}", budget("autoencoder"), budget("diffusion")]
    done = run_training(place.compose(*words, "monitor.log_every=5"))
    for run in done.values():
        assert all(math.isfinite(loss) for loss in losses(run))
        weights = torch.load(run.model, weights_only=True)["state_dict"]
        assert all(weight.isfinite().all() for weight in weights.values() if weight.is_floating_point())


def test_an_interrupted_training_resumes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*ON, "name=resumed", "stages=[autoencoder]", budget("autoencoder"), "data.num_workers=auto"]
    usual = training_run.build_callbacks
    monkeypatch.setattr(
        training_run, "build_callbacks", lambda *arguments: [*usual(*arguments), SignalAt(7, signal.SIGTERM)]
    )
    with pytest.raises(Interrupted):
        run_training(place.compose(*words))
    interruption.forget()
    monkeypatch.setattr(training_run, "build_callbacks", usual)
    run = run_training(place.compose(*words))["autoencoder"]
    assert torch.load(run.model, weights_only=True)["fieldforge"]["steps"] == STEPS


def test_latents_are_those_of_a_cpu(place: Place) -> None:
    words = [*ON, "name=latents", "stages=[autoencoder,latents]", budget("autoencoder")]
    config = place.compose(*words)
    run = run_training(config)["autoencoder"]
    [folder] = (run.path / "latents").iterdir()
    stored = torch.stack([torch.from_numpy(np.array(sample["latent.npy"])) for sample in samples_of(folder, "train")])
    autoencoder, _ = load_autoencoder(run.model)
    domain: Domain = build(config, "domain")
    batches = sample_data(config).spans_loader("train", [(0, 9)], domain.input_transforms(), 8)
    with torch.no_grad():
        here = torch.cat([autoencoder.encode(batch) for batch in batches])  # (9, T, C)
    torch.testing.assert_close(stored, here, atol=2e-3, rtol=2e-3)


def test_fsdp_on_one_device(place: Place) -> None:
    words = [*ROUNDED, "trainer=fsdp", "name=fsdp", "stages=[autoencoder]", budget("autoencoder", 4)]
    assert run_training(place.compose(*words))["autoencoder"].finished


def test_too_large_a_step_is_one_sentence(place: Place) -> None:
    if ACCELERATOR == "cpu":
        pytest.skip("a CPU swaps before it refuses")
    words = [*ON, "name=large", "stages=[autoencoder]", "autoencoder.encoder.width=512"]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(UserError, match="does not fit into memory"):
            run_training(place.compose(*words))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
