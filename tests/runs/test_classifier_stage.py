"""The classifier of latents: trained, resumed, measured; and sampling that is led by it or by a weaker model."""

import json
import signal
from pathlib import Path

import pytest
import torch
from hydra.errors import ConfigCompositionException
from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training
from fieldforge.stages.classifier_stage import load_classifier
from fieldforge.training.processes import interruption
from fieldforge.training.processes.interruption import Interrupted

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
    assert list(report["accuracy_by_noise"]) == ["0.3", "1", "3", "10", "30", "100"]
    assert report["heldout"] == 3
    assert report["chance"] == pytest.approx(1 / 3)
    header = (done["classifier"].path / "metrics.csv").read_text().splitlines()[0]
    assert "heldout/accuracy_at_0.3" in header
    caplog.set_level("INFO")
    run_training(place.compose(STAGES, *SMALL, *SHORT, "monitor.log_every=3"))
    assert f"finished already, reused from {done['classifier'].path}" in caplog.text


def test_classifier_resumes_exactly(walked, tmp_path):
    place, done = walked
    other = Place(place.data, tmp_path)
    words = [STAGES, f"autoencoder_run={done['autoencoder'].path}", *SMALL, *SHORT]
    with pytest.raises(Interrupted):
        run_training(other.compose(*words, KILL))
    interruption.forget()
    again = run_training(other.compose(*words))["classifier"]
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


@pytest.fixture(scope="module")
def diffused(walked):
    """An unconditional model of the latents that the classifier knows, and a weaker one."""
    place, done = walked
    words = ["autoencoder_run=" + str(done["autoencoder"].path), "conditioner=none"]
    strong, weak = (
        run_training(place.compose(*words, f"name={name}", f"backbone.width={width}"))["diffusion"]
        for name, width in (("strong", 16), ("weak", 8))
    )
    return place, done, strong, weak


def sampled(place: Place, folder: Path, *overrides: str) -> dict:
    from hydra import compose, initialize_config_dir

    from fieldforge.runs.entry import CONFIGS
    from fieldforge.runs.sample import run_sampling

    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        small = [f"output_dir={place.outputs}", f"output={folder}", "steps=2", "resolution=16", "n=1"]
        run_sampling(compose("sample", [*small, *overrides]))
    return json.loads((folder / "samples.json").read_text())


def test_sampling_led_by_the_classifier_reaches_a_class_that_the_model_does_not_know(diffused, tmp_path):
    place, done, strong, _ = diffused
    led = [f"run={strong.path}", "guidance=classifier", f"guidance.run={done['classifier'].path}"]
    report = sampled(place, tmp_path / "led", *led, "class=[red,blue]", "guidance.classifier_scale=3")
    assert [entry["class"] for entry in report["samples"]] == ["red", "blue"]
    assert report["samples"][0]["guided_by"] == "classifier"
    assert report["samples"][0]["guided_by_scale"] == 3
    with pytest.raises(UserError, match="give class="):
        sampled(place, tmp_path / "no", *led)
    with pytest.raises(UserError, match="does not know class='purple': known are blue, green, red"):
        sampled(place, tmp_path / "no", *led, "class=purple")
    with pytest.raises(UserError, match="does not know class='gren': did you mean green"):
        sampled(place, tmp_path / "no", *led, "class=gren")
    (tmp_path / "lines.jsonl").write_text('{"class": "gren"}\n{"class": "red"}')
    report = sampled(place, tmp_path / "rest", *led, f"prompts={tmp_path / 'lines.jsonl'}")
    assert [entry["class"] for entry in report["samples"]] == ["red"]
    assert not (tmp_path / "no").exists()
    with pytest.raises(UserError, match="was not trained with it"):
        sampled(place, tmp_path / "no", f"run={strong.path}", "class=red")
    with pytest.raises(UserError, match=r"guidance\.run has no value"):
        sampled(place, tmp_path / "no", f"run={strong.path}", "guidance=classifier", "class=red")
    with pytest.raises(UserError, match="not of stage classifier"):
        sampled(place, tmp_path / "no", *led[:2], f"guidance.run={strong.path}", "class=red")


def test_the_loaded_classifier_adds_its_gradient_to_the_estimate(diffused):
    from fieldforge.asking.classifier_guidance import ClassifierGuidance
    from fieldforge.stages.diffusion_stage import load_diffusion

    place, done, strong, _ = diffused
    sampler, _, label = load_diffusion(strong.model)
    classifier, _ = load_classifier(done["classifier"].model)
    guidance = ClassifierGuidance(run=str(done["classifier"].path), classifier_scale=3.0)
    led = guidance.lead(sampler, label, str(place.outputs)).generator
    steering = led.steering({"class": ["green", "red"]}, 2, 1.0)
    t = torch.full((2,), 0.2).double()
    x_t = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    chosen = classifier(x_t, t)[[0, 1], [1, 2]]  # blue, green, red
    gradient = torch.autograd.grad(chosen.sum(), x_t)[0]
    process = sampler.model.process
    with torch.no_grad():
        result = led.model.guided(steering.guidance, steering.condition, steering.null)(x_t, t)
        reach = float(process.sigma(t)[0] ** 2 / process.alpha(t)[0])
        expected = sampler.model(x_t, t, steering.condition) + 3 * reach * gradient
    torch.testing.assert_close(result, expected)
    assert (3 * reach * gradient).abs().max() > 1e-4


def test_autoguidance_leads_away_from_the_weaker_run(diffused, tmp_path):
    from fieldforge.asking.weak_guidance import WeakModelGuidance
    from fieldforge.stages.diffusion_stage import load_diffusion

    place, _, strong, weak = diffused
    sampler, _, label = load_diffusion(strong.model)
    other, _, _ = load_diffusion(weak.model)
    led = WeakModelGuidance(run=str(weak.path)).lead(sampler, label, str(place.outputs)).generator
    steering = led.steering({}, 2, 2.0)
    x_t, t = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0)), torch.full((2,), 0.3).double()
    with torch.no_grad():
        result = led.model.guided(steering.guidance, steering.condition, steering.null)(x_t, t)
        expected = 2 * sampler.model(x_t, t, steering.condition) - other.model(x_t, t, steering.condition)
    torch.testing.assert_close(result, expected)
    run = f"guidance.run={weak.path}"
    report = sampled(place, tmp_path / "led", f"run={strong.path}", "guidance=autoguidance", run)
    (entry,) = report["samples"]
    assert (entry["guided_by"], entry["guided_by_scale"], entry["guidance"]) == ("autoguidance", 2.0, 2.0)
    for other in ("guidance.text=7", "guidance.rescale=0.5", "guidance.negative=armrests"):
        with pytest.raises(ConfigCompositionException):
            sampled(place, tmp_path / "no", f"run={strong.path}", "guidance=autoguidance", run, other)
    with pytest.raises(UserError, match=r"has no effect at guidance\.scale=1"):
        sampled(place, tmp_path / "no", f"run={strong.path}", "guidance=autoguidance", run, "guidance.scale=1")


@pytest.mark.parametrize("idle", ["guidance.scale=3", "guidance.rescale=0.5", "guidance.interval=[0.2,5]"])
def test_guidance_of_a_model_that_reads_nothing_is_refused(diffused, tmp_path, idle):
    place, _, strong, _ = diffused
    with pytest.raises(UserError, match="has no effect on this model, which reads nothing: leave it out"):
        sampled(place, tmp_path / "no", f"run={strong.path}", idle)
    assert not (tmp_path / "no").exists()


def test_a_classifier_of_other_latents_is_refused(diffused):
    from fieldforge.asking.guidance import check_latents

    _, done, _, _ = diffused
    with pytest.raises(UserError, match="knows the latents of autoencoder abc"):
        check_latents("r", "abc", {"autoencoder": {"fingerprint": done["autoencoder"].fingerprint}})


def test_a_classifier_continues_as_if_it_had_never_ended(walked, tmp_path):
    place, done = walked
    constant = [*SMALL, *SHORT, "training.classifier.budget.final_rate=1", "callbacks.pictures=null"]
    words = [STAGES, f"autoencoder_run={done['autoencoder'].path}", *constant]
    longer, other = "training.classifier.budget.max_steps=9", Place(place.data, tmp_path)
    short = run_training(other.compose(*words))["classifier"]
    continued = run_training(other.compose(*words, longer, f"continue_from={short.path}"))["classifier"]
    at_once = run_training(other.compose(*words, longer, "continue_from=scratch"))["classifier"]
    assert continued.path != at_once.path
    weights = [torch.load(run.model, weights_only=True)["state_dict"] for run in (continued, at_once)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
