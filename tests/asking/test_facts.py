"""What reports and names of folders say of a command, and which samples it makes."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from fieldforge.asking.facts import facts_of, folder_name
from fieldforge.asking.guidance import Guided, scale_text
from fieldforge.asking.jobs import jobs_of
from fieldforge.asking.requests import Request
from fieldforge.asking.settings import SamplingSettings
from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.nn.arithmetic import Arithmetic
from fieldforge.runs.entry import CONFIGS


def built(*overrides: str) -> SamplingSettings:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return read_settings(compose("sample", list(overrides)), SamplingSettings)


def request_of(prompt: str) -> Request:
    return Request({"caption": prompt}, {"caption": prompt})


@pytest.fixture
def guided() -> Guided:
    generator: Any = SimpleNamespace(sampler=SimpleNamespace(steps=7), keys=set(), arithmetic=None)
    return Guided(generator, 3.0, {})


def test_a_scale_is_called_as_it_is_typed(guided):
    assert scale_text(2.5) == "2.5"
    assert scale_text({"caption": 4.0, "image": 2.0}) == "text 4 image 2"
    facts = facts_of(built(), replace(guided, scale={"caption": 4.0}))
    assert facts == {"guidance": {"text": 4.0}, "steps": 7}


def test_facts_are_what_differs_from_a_plain_command(guided):
    settings = built("from=a/ball.glb", "guidance.rescale=0.5", "guidance.negative=legs", "seed=3")
    facts = facts_of(settings, guided)
    assert facts == {
        "guidance": 3.0,
        "steps": 7,
        "from": "a/ball.glb",
        "strength": 0.6,
        "negative": "legs",
        "guidance_rescale": 0.5,
    }
    name = folder_name([request_of("A red ball"), request_of("a box")], settings, guided)
    assert name == "a-red-ball-and-1-more_from-ball_strength-0-6_negative-legs_guidance-rescale-0-5_g3_s3"


def test_rounded_products_are_a_fact_and_stand_in_the_folder_where_they_are_asked_for(guided):
    guided.generator.arithmetic = Arithmetic("cuda", "bf16-mixed", "medium", compile=False)  # as on a GPU
    assert facts_of(built(), guided) == {"guidance": 3.0, "steps": 7, "precision": "bf16-mixed", "matmul": "medium"}
    assert folder_name([request_of("a ball")], built(), guided) == "a-ball_g3_s0"
    assert folder_name([request_of("a ball")], built("precision=32-true"), guided) == "a-ball_precision-32-true_g3_s0"


def test_jobs_go_from_each_request_to_the_end():
    settings = built("prompt=a ball", "to=a box", "frames=3", "n=2", "seed=5")
    jobs = jobs_of(settings, [request_of("a ball")])
    assert [(job.seed, job.end_seed, job.weight) for job in jobs] == [
        *((5, 5, 0.0), (5, 5, 0.5), (5, 5, 1.0)),
        *((6, 6, 0.0), (6, 6, 0.5), (6, 6, 1.0)),
    ]
    assert {job.end.title for job in jobs} == {"a box"}


def test_more_samples_than_anybody_means_are_refused():
    with pytest.raises(UserError, match="n=400000 makes 1200000 samples, and 1000000 are the most"):
        jobs_of(built("n=400000"), [request_of(text) for text in "abc"])
