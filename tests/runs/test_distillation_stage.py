"""A trained model made fast: phases that are runs, resumed and reused like all runs."""

import signal

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.runs.conftest import SEARCH, Place

from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.distillation_stage import Phase, phases_of
from fieldforge.stages.settings import DistillationSettings
from fieldforge.training.processes import interruption
from fieldforge.training.processes.checkpoints import load_safely
from fieldforge.training.processes.interruption import Interrupted

SMALL = [
    "distillation.teacher_steps=8",
    "distillation.steps=[8,4,2]",
    "distillation.shares=[2,1,1]",
    "training.diffusion.batch_size=4",
    "training.diffusion.budget={max_steps:16,max_minutes:null,warmup_steps:2}",
    "trainer.accelerator=cpu",
    "monitor={log_every:1,validate_every:4,validation_batches:1,pictures:{count:1,size:8,resolution:4}}",
]
KILL = f"+callbacks.kill={{_target_:tests.runs.tiny.SignalAt,step:3,number:{int(signal.SIGTERM)}}}"


@pytest.fixture(scope="module")
def walked(balls, tmp_path_factory):
    place = Place(balls, tmp_path_factory.mktemp("walked"))
    return place, run_training(place.compose("latent_data.num_workers=0"))["diffusion"]


def distill(place: Place, teacher, *overrides: str):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        words = [f"teacher={teacher}", f"output_dir={place.outputs}", *SMALL, *overrides]
        return run_training(compose("train", [SEARCH, "experiment=distill", *words]))["diffusion"]


def test_phases_leave_runs_that_sample_in_few_steps(walked, caplog):
    place, teacher = walked
    last = distill(place, teacher.path)
    phases = [load_safely(path)["fieldforge"]["config"] for path in (place.outputs / "distill").glob("*/model.ckpt")]
    spent = {phase["distillation"]["steps"]: phase["training"]["diffusion"]["budget"]["max_steps"] for phase in phases}
    assert spent == {8: 8, 4: 4, 2: 4}
    sampler, _, label = load_diffusion(last.model)
    assert sampler.sampler.steps == 2
    assert label["config"]["distillation"] == {"steps": 2, "substeps": 2, "guidance": 3.0}
    calls = []
    denoise, plain = sampler.model.forward, sampler.model
    plain.forward = lambda *inputs: calls.append(len(inputs[0])) or denoise(*inputs)  # type: ignore[method-assign]
    latents = sampler({"class": ["red", "blue"]}, [0, 1], 3.0)
    assert calls == [2, 2]  # two steps, guided, with one row for each sample
    assert torch.isfinite(latents).all()
    with pytest.raises(UserError, match="knows no guidance=2"):
        sampler({"class": ["red"]}, [0], 2.0)
    teacher_state, state = (torch.load(run.model, weights_only=True)["state_dict"] for run in (teacher, last))
    moved = {name for name in state if not torch.equal(state[name], teacher_state[name])}
    assert any(name.startswith("model.") for name in moved)
    assert not any(name.startswith("conditioner.") for name in moved)
    caplog.set_level("INFO")
    assert distill(place, teacher.path).path == last.path
    assert caplog.text.count("reused from") == 3


def test_without_guidance_there_is_no_phase_for_it():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [SEARCH, "experiment=distill", "teacher=x"])
    settings = read_settings(config, DistillationSettings, "distillation")
    assert phases_of(settings, guided=True) == [Phase(64, 1, 3 / 6), Phase(16, 4, 1 / 6), Phase(4, 4, 2 / 6)]
    assert phases_of(settings, guided=False) == [Phase(16, 4, 1 / 3), Phase(4, 4, 2 / 3)]


def test_distillation_resumes_exactly(walked, tmp_path):
    place, teacher = walked
    undisturbed = distill(place, teacher.path)
    other = Place(place.data, tmp_path)
    latents = next((place.outputs / "tiny").glob("*/latents/*"))
    words = [teacher.path, f"latent_data.root={latents}"]
    with pytest.raises(Interrupted):
        distill(other, *words, KILL)
    interruption.forget()
    weights = [torch.load(run.model, weights_only=True)["state_dict"] for run in (undisturbed, distill(other, *words))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_mistakes_are_one_sentence(walked, tmp_path):
    place, teacher = walked
    for steps, shares, sentence in [
        ("[3]", "[1]", "8 steps are no multiple of 3"),
        ("[4,4]", "[1,1]", "4 steps are no fewer than 4"),
        ("[4,2]", "[1]", "must be 2 numbers"),
        ("[4,2]", "[1,0]", r"distillation\.shares = \[1, 0\] must be a list \(each a number above 0\)"),
        ("[]", "[]", "names no phase"),
        ("4", "[1]", r"distillation\.steps = 4 must be a list \(each a whole number of at least 1\)"),
    ]:
        with pytest.raises(UserError, match=sentence):
            distill(place, teacher.path, f"distillation.steps={steps}", f"distillation.shares={shares}")
    with pytest.raises(UserError, match="are the teacher's, without guidance to learn"):
        distill(place, teacher.path, "distillation.steps=[8]", "distillation.shares=[1]", "distillation.guidance=1")
    with pytest.raises(UserError, match=r"give their folder, latent_data\.root"):
        distill(Place(place.data, tmp_path), teacher.path)
    with pytest.raises(UserError, match="times of 4 steps are not among those of 8"):
        distill(place, teacher.path, "sampler=heun")
    with pytest.raises(UserError, match="is distilled already"):
        distill(place, distill(place, teacher.path).path)
