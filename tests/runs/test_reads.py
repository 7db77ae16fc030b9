"""An experiment's configuration holds nothing that its training does not read: one of two steps is watched.

Of the experiments that are watched, these trainings are also those that show that the experiment takes its steps.
"""

from pathlib import Path

import pytest
from tests.runs.reads import leaves, recorded
from tests.runs.test_experiments import EXPERIMENTS, TRAINED, WATCHED, composed, small

from fieldforge.configuration.values import check_finite
from fieldforge.runs.train import run_training
from fieldforge.stages.directory import StageDirectory

READ_ELSEWHERE = {
    "phases": "where stages names one",
    "search.objective": "by a sweep",
    "search.direction": "by a sweep",
    "search.parallel": "by a sweep",
}
OWN_REASONS = {
    "clip_prior": {
        "sampler.": "by sample.py, which makes vectors",
        "guidance.": "by sample.py, which makes vectors",
        "latent_data.transforms.latent.": "by all but a prior, whose latents are vectors",
    },
}
FREE = (
    *("autoencoder.", "backbone.", "process.", "loss.", "conditioner.clip", "conditioner.parts."),
    *("data.augment", "data.transforms.surface.", "latent_data.transforms.view."),
)
"""Blocks that are built whole, with the keys of the class that is chosen."""


@pytest.fixture(scope="module")
def teacher(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> StageDirectory:
    place = tmp_path_factory.mktemp("teacher")
    return run_training(composed("shape_latent", *small("shape_latent", balls), f"output_dir={place}"))["diffusion"]


@pytest.mark.parametrize("experiment", WATCHED)
def test_an_experiment_holds_what_it_reads(experiment, balls, tmp_path, request):
    words = [f"output_dir={tmp_path}"]
    if experiment == "distill":
        teacher = request.getfixturevalue("teacher")
        words += [f"teacher={teacher.path}", f"output_dir={teacher.path.parent.parent}", *DISTILLED]
    else:
        words += small(experiment, balls)
    training = composed(experiment, *words)  # to compose is no reading
    with recorded() as seen:
        done = run_training(training)
    assert set(done) == {"diffusion" if name == "distillation" else name for name in training.stages} - {"latents"}
    assert all(stage.finished for stage in done.values())
    reasons = (*READ_ELSEWHERE, *OWN_REASONS.get(experiment, ()))
    unread = [path for path in leaves(composed(experiment)) if path not in seen and not path.startswith(reasons)]
    assert unread == []


def test_a_walk_that_looks_for_nan_is_no_reading():
    config = composed("shape_latent")
    with recorded() as seen:
        check_finite(config)
    assert not seen


DISTILLED = [
    "distillation.teacher_steps=4",
    "distillation.steps=[2]",
    "distillation.shares=[1]",
    "training.diffusion.batch_size=2",
    "training.diffusion.budget={max_steps:2,max_minutes:null}",
    "trainer.accelerator=cpu",
    "monitor={validation_batches:1,pictures:{count:1,size:8,resolution:4}}",
]


def test_experiments_that_are_not_watched_have_the_keys_of_one_that_is():
    known = {path for experiment in (*WATCHED, "shape_latent_class") for path in leaves(composed(experiment))}
    for experiment in sorted({*EXPERIMENTS, *TRAINED}):
        rest = {path for path in leaves(composed(experiment)) if not path.startswith((*FREE, "domain.view_light."))}
        assert rest <= known, experiment
