"""Training on after the end is the same as having trained on at once, where the learning rate allows that."""

from pathlib import Path

import pytest
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from tests.runs.conftest import Place
from tests.runs.test_classifier_stage import SMALL, STAGES
from tests.runs.test_resume import assert_equal, weights
from tests.runs.test_sampling import TINY_PRIOR
from tests.runs.tiny import write_balls

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training

AUTOENCODER = "stages=[autoencoder]"
CONSTANT = [
    "training.autoencoder.budget.final_rate=1",
    "training.diffusion.budget.final_rate=1",
    "callbacks.pictures=null",
]


def steps(autoencoder: int, diffusion: int = 6) -> list[str]:
    return [
        f"training.autoencoder.budget.max_steps={autoencoder}",
        f"training.diffusion.budget.max_steps={diffusion}",
        *CONSTANT,
    ]


@pytest.fixture(scope="module")
def walked(balls, tmp_path_factory):
    place = Place(balls, tmp_path_factory.mktemp("walked"))
    return place, run_training(place.compose(*steps(4, 4)))


def test_both_stages_continue_as_if_they_had_never_ended(walked, balls, tmp_path):
    place, done = walked
    straight = Place(balls, tmp_path)
    autoencoder = f"autoencoder_run={done['autoencoder'].path}"
    continued = run_training(place.compose(*steps(4, 8), f"continue_from={done['diffusion'].path}"))["diffusion"]
    at_once = run_training(straight.compose(*steps(4, 8), autoencoder))["diffusion"]
    assert_equal(weights(continued.path), weights(at_once.path))
    assert continued.determining["continued_from"] == done["diffusion"].fingerprint
    assert done["diffusion"].finished  # as it was
    again = run_training(place.compose(*steps(4, 8), f"continue_from={done['diffusion'].path}"))["diffusion"]
    assert again.path == continued.path

    longer = run_training(place.compose(AUTOENCODER, *steps(8), f"continue_from={done['autoencoder'].path}"))
    whole = run_training(straight.compose(AUTOENCODER, *steps(8)))
    assert_equal(weights(longer["autoencoder"].path), weights(whole["autoencoder"].path))


def continued_and_at_once(place: Place, folder: Path, kind: str, *overrides: str) -> tuple[Path, Path]:
    """A stage of 8 steps: 4 and then 4 more, and in one go, in places of their own."""

    def run(where: Place, count: int, *further: str) -> Path:
        budget = [f"training.{kind}.budget.final_rate=1", f"training.{kind}.budget.max_steps={count}"]
        return run_training(where.compose(*overrides, *budget, *further))[kind].path

    continued = run(place, 8, f"continue_from={run(place, 4)}")
    return continued, run(Place(place.data, folder), 8)


def test_a_classifier_continues_as_if_it_had_never_ended(walked, tmp_path):
    place, done = walked
    autoencoder = f"autoencoder_run={done['autoencoder'].path}"
    continued, at_once = continued_and_at_once(place, tmp_path, "classifier", STAGES, *SMALL, *steps(4), autoencoder)
    assert_equal(weights(continued), weights(at_once))


def test_a_prior_continues_as_if_it_had_never_ended(clip_folder, tmp_path):  # noqa: F811
    place = Place(write_balls(tmp_path / "balls"), tmp_path / "first")
    prior = [*TINY_PRIOR, f"conditioner.clip={clip_folder}"]
    continued, at_once = continued_and_at_once(place, tmp_path / "second", "prior", *prior)
    assert_equal(weights(continued), weights(at_once))


def test_a_larger_budget_says_what_can_be_continued(walked):
    place, done = walked
    with pytest.raises(
        UserError, match=f"give continue_from={done['diffusion'].path.parent}/.* to go on.*or continue_from=scratch"
    ):
        run_training(place.compose(*steps(4, 9)))
    assert run_training(place.compose(*steps(4, 3)))["diffusion"].finished  # a smaller one is another run


@pytest.mark.parametrize(
    ("stage", "overrides", "sentence"),
    [
        (
            "diffusion",
            ["training.diffusion.optimizer.lr=1e-2"],
            r"only the budget may be another, .*optimizer\.lr: 0.001",
        ),
        ("diffusion", ["seed=3"], "only the budget may be another"),
        ("diffusion", ["training.diffusion.budget.max_steps=4"], "has made 4 steps in .* give more"),
        ("diffusion", [AUTOENCODER], "is of stage diffusion, and this training has autoencoder"),
        (None, [], "continue_from=/nowhere is no run"),
    ],
)
def test_what_cannot_be_continued_is_a_sentence(walked, stage, overrides, sentence):
    place, done = walked
    run = done[stage].path if stage else "/nowhere"
    with pytest.raises(UserError, match=sentence) as mistake:
        run_training(place.compose(*steps(4, 8), *overrides, f"continue_from={run}"))
    assert "\n" not in str(mistake.value)
