"""The classifier of latents: trained, resumed, measured; and sampling that is led by it or by a weaker model."""

import json
import signal
from pathlib import Path

import pytest
import torch
from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs.classifier_stage import load_classifier
from fieldforge.runs.train import run_training
from fieldforge.training import interruption
from fieldforge.training.interruption import Interrupted

STAGES = "stages=[autoencoder,latents,classifier]"
SMALL = ["classifier.width=16", "classifier.layers=1", "classifier.heads=2", "classifier.group=2"]
SHORT = ["training.classifier.budget.max_steps=6", "training.classifier.batch_size=4"]
KILL = f"+callbacks.kill={{_target_:tests.runs.tiny.SignalAt,step:3,number:{int(signal.SIGTERM)}}}"


@pytest.fixture(scope="module")
def walked(balls, tmp_path_factory) -> tuple[Place, dict]:
    place = Place(balls, tmp_path_factory.mktemp("walked"))
    return place, run_training(place.compose(STAGES, *SMALL, *SHORT))


def test_classifier_leaves_model_accuracy_and_metrics(walked, caplog):
    place, done = walked
    classifier, label = load_classifier(done["classifier"].model)
    assert label["classes"] == ["blue", "green", "red"]
    assert label["autoencoder"] == done["autoencoder"].fingerprint
    assert classifier(torch.zeros(2, 8, 4), torch.full((2,), 0.5).double()).exp().sum(1).allclose(torch.ones(2))
    report = json.loads((done["classifier"].path / "accuracy.json").read_text())
    assert list(report["accuracy_by_noise"]) == ["0.1", "0.3", "1", "3", "10"]
    assert report["heldout"] == 3
    assert report["chance"] == pytest.approx(1 / 3)
    header = (done["classifier"].path / "metrics.csv").read_text().splitlines()[0]
    assert "heldout/accuracy_at_0.1" in header
    caplog.set_level("INFO")
    run_training(place.compose(STAGES, *SMALL, *SHORT, "monitor.log_every=3"))
    assert f"finished already, reused from {done['classifier'].path}" in caplog.text


def test_classifier_resumes_exactly(walked, tmp_path):
    place, done = walked
    other = Place(place.data, tmp_path)
    given = [STAGES, f"autoencoder_run={done['autoencoder'].path}", *SMALL, *SHORT]
    with pytest.raises(Interrupted):
        run_training(other.compose(*given, KILL))
    interruption.forget()
    again = run_training(other.compose(*given))["classifier"]
    weights = [torch.load(run.model, weights_only=True)["state_dict"] for run in (done["classifier"], again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_classes_can_be_learned(walked, tmp_path):
    """On latents whose class is plain to see the training reaches it; the harder the noise the less is told."""
    from fieldforge.diffusion.classifier import LatentClassifier, accuracy_by_noise, classifier_loss
    from fieldforge.noise.processes import Exponential

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    means = torch.randn(3, 8, 4, generator=generator)
    labels = torch.arange(3).repeat(32)
    x0 = means[labels] + 0.1 * torch.randn(96, 8, 4, generator=generator)
    classifier = LatentClassifier(8, 4, 16, 1, 2, 3, Exponential(12.0), group=2)
    optimizer = torch.optim.Adam(classifier.parameters(), 3e-3)
    for _ in range(60):
        t = torch.rand(96, generator=generator).double()
        loss = classifier_loss(classifier, x0, torch.randn(x0.shape, generator=generator), t, labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shares = accuracy_by_noise(classifier, x0, labels, [0.1, 1.0, 100.0], generator)
    assert shares[0.1] > 0.95
    assert shares[0.1] >= shares[1.0] > shares[100.0]


def test_a_model_of_another_stage_is_refused(walked):
    _, done = walked
    with pytest.raises(UserError, match="not a classifier"):
        load_classifier(Path(done["autoencoder"].model))
