"""The settings of sample.py: values of the command line, and options that change nothing."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from fieldforge.asking.classifier_guidance import ClassifierGuidance
from fieldforge.asking.condition_guidance import ConditionGuidance
from fieldforge.asking.settings import SamplingSettings
from fieldforge.asking.weak_guidance import WeakModelGuidance
from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS


def built(*overrides: str) -> SamplingSettings:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return read_settings(compose("sample", list(overrides)), SamplingSettings)


def test_values_are_those_of_the_command_line():
    settings = built("class=[chair,3]", "from=ball.glb", "strength=0.5", "to_seed=4", "guidance.class=2")
    assert (settings.classes, settings.from_, settings.variation_strength) == (["chair", 3], "ball.glb", 0.5)
    assert (settings.images, settings.frame_count) == ([None], 8)
    assert settings.guidance == ConditionGuidance(class_=2.0)


def test_what_is_not_given_has_its_usual_value():
    settings = built()
    assert (settings.variation_strength, settings.prior_scale, settings.frame_count) == (0.6, 1.0, 1)
    assert settings.guidance == ConditionGuidance()
    assert settings.sampler is None
    assert built("from=part.ply", "complete=true").variation_strength == 0.9


def test_guidance_is_a_choice():
    run = "guidance.run=a"
    assert built("guidance=rescaled").guidance == ConditionGuidance(rescale=0.7)
    assert built("guidance=interval", "guidance.scale=2").guidance == ConditionGuidance(scale=2, interval=[0.2, 5.0])  # type: ignore[arg-type]
    assert built("guidance=autoguidance", run).guidance == WeakModelGuidance(run="a", scale=2.0)
    led = built("guidance=classifier", run, "guidance.rescale=0.5").guidance
    assert led == ClassifierGuidance(run="a", classifier_scale=2.0, rescale=0.5)


@pytest.mark.parametrize("choice", ["classifier_free", "autoguidance"])
def test_keys_of_another_choice_are_unknown(choice):
    other = {"classifier_free": "guidance.run=a", "autoguidance": "guidance.rescale=0.5"}[choice]
    with pytest.raises(ConfigCompositionException, match=other.partition("=")[0]):
        built(f"guidance={choice}", other)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["guidance=classifier"], "the config key guidance.run has no value"),
        (
            ["guidance=classifier", "guidance.run=a", "guidance.rescale=2"],
            "guidance.rescale = 2 is not a number from 0",
        ),
        (["guidance=classifier", "guidance.run=a", "guidance.classifier_scale=0"], "no effect at guidance.classifier_"),
        (["guidance=autoguidance", "guidance.run=a", "guidance.scale=1"], "no effect at guidance.scale=1"),
        (["guidance.interval=[0.2]"], "guidance.interval = .* is not a list of 2 .each a number of at least 0"),
        (["guidance.rescale=0.5", "guidance.image=2"], "go with one scale for all"),
        (["prompt=a ball", "to=' a ball '"], "is where the way begins"),
        (["prompt=a ball", "to=a ball", "to_seed=0"], "is where the way begins"),
        (["seed=5", "to_seed=5"], "to_seed=5 is where the way begins"),
        (["remove_background=true", "prompt=a"], "has no effect without a picture"),
        (["precision=fast"], "precision = 'fast' must be one of auto, 32-true, bf16-mixed"),
        (["matmul=low"], "matmul = 'low' must be one of auto, highest, high, medium"),
    ],
)
def test_mistakes_are_one_sentence(overrides, sentence):
    with pytest.raises(UserError, match=sentence) as mistake:
        built(*overrides)
    assert "\n" not in str(mistake.value)


def test_a_way_has_two_ends():
    assert built("prompt=a ball", "to=a box").is_way
    assert built("prompt=a ball", "to=a ball", "to_seed=1").is_way
    assert built("prompt=a ball", "to=a box", "to_seed=0", "frames=3").frame_count == 3


@pytest.mark.parametrize(
    ("overrides", "keys", "sentence"),
    [
        (["guidance.scale=3"], [], "guidance=3 has no effect, as nothing is asked for: give prompt="),
        (["guidance.rescale=0.5"], [], "guidance.rescale=0.5 has no effect, as nothing is asked for"),
        (["guidance=interval"], [], r"guidance.interval=\[0.2, 5.0\] has no effect, as nothing is asked for"),
        (["guidance.image=2"], ["caption"], "guidance.image=2 has no effect, as no image is asked for"),
        (["guidance.text=2"], ["image"], "guidance.text=2 has no effect, as no text is asked for"),
        (["guidance.scale=3"], ["class"], None),
        (["guidance.scale=3", "guidance.negative=legs"], [], None),
        (["guidance.text=2", "guidance.image=3"], ["caption", "image"], None),
        (["guidance=autoguidance", "guidance.run=a"], [], None),
        ([], [], None),
    ],
)
def test_guidance_wants_something_to_lead_to(overrides: list[str], keys: list[str], sentence: str | None):
    choice = built(*overrides).guidance
    if sentence is None:
        choice.check_requests(keys)
        return
    with pytest.raises(UserError, match=sentence):
        choice.check_requests(keys)
