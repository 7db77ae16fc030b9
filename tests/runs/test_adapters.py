"""Adapters: trained by train.py on a finished model, added to it by sample.py."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.runs.conftest import Place

from fieldforge.asking.sampling_model import load_model
from fieldforge.asking.settings import SamplingSettings
from fieldforge.configuration.settings import read_settings
from fieldforge.diffusion.adapter_files import read_adapter
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import run_training
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.locate import find_model, label_of

FAST = "training.diffusion.optimizer.lr=0.05"
ADAPTER = ["adapter=lora", "adapter.rank=2", FAST]


def weights(run: StageDirectory) -> dict[str, torch.Tensor]:
    return torch.load(run.model, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def trained(balls, tmp_path_factory):
    """A model, and an adapter that was trained on it."""
    place = Place(balls, tmp_path_factory.mktemp("adapters"))
    base = run_training(place.compose(FAST))["diffusion"]
    words = [*ADAPTER, f"init_from={base.path}", "callbacks.pictures=null", "training.diffusion.budget.warmup_steps=6"]
    return place, base, run_training(place.compose(*words))["diffusion"]


def loaded(place: Place, run: StageDirectory, *words: str) -> dict[str, torch.Tensor]:
    """The denoiser's weights as sample.py has them."""
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        settings = read_settings(compose("sample", [f"output_dir={place.outputs}", *words]), SamplingSettings)
    return load_model(run.model, settings).guided.generator.model.state_dict()


def test_the_run_is_the_model_plus_what_its_adapter_holds(trained):
    _, base, run = trained
    before, after, adapter = weights(base), weights(run), read_adapter(run.path)
    assert (adapter.base, adapter.run, adapter.scale) == (base.fingerprint, run.fingerprint, 8.0)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"model.backbone.{layer}.weight" for layer in adapter.corrections}
    for layer, (down, up) in adapter.corrections.items():
        name = f"model.backbone.{layer}.weight"
        torch.testing.assert_close(after[name], before[name] + 8.0 * up @ down)


def test_a_short_training_of_an_adapter_leaves_no_untrained_model(trained):
    _, _, run = trained
    label = label_of(run.model)
    assert (label["steps"], label["untrained"]) == (6, False)  # within the warm-up, and begun with a model's weights


def test_sampling_adds_it_to_the_model(trained):
    place, base, run = trained
    one, halves = f"adapters={run.path}", f"adapters=[{run.path},{run.path / 'adapter'}]"
    plain, whole = loaded(place, base), loaded(place, run)
    assert any(not torch.equal(plain[name], whole[name]) for name in plain)
    for words, truth in (
        ([one], whole),
        ([one, "adapter_weight=0"], plain),
        ([one, "adapter_weight=[1]"], whole),
        ([halves, "adapter_weight=[0.25,0.75]"], whole),
        ([halves, "adapter_weight=0.5"], whole),
    ):
        torch.testing.assert_close(loaded(place, base, *words), truth)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run={run}", "adapters={run}"], "is in the weights of run=.* already"),
        (["run={base}", "adapters={base}"], "adapter=.* has no adapter_config.json"),
        (["run={base}", "adapters=[{run},{run}]", "adapter_weight=[1.0]"], "must have one number for each adapter="),
        (["run={base}", "adapter_weight=0.5"], "adapter_weight=0.5 has no effect without adapter="),
    ],
)
def test_what_has_no_sense_is_one_sentence(trained, words, sentence):
    place, base, run = trained
    first, *others = (word.format(run=run.path, base=base.path) for word in words)
    with pytest.raises(UserError, match=sentence):
        loaded(place, run if first == f"run={run.path}" else base, *others)


def test_it_is_trained_on_a_finished_model_alone(trained):
    place, base, _ = trained
    with pytest.raises(UserError, match="adapter= corrects the weights of a finished model: name it by init_from="):
        run_training(place.compose(*ADAPTER))
    with pytest.raises(UserError, match=r"adapter.layers: no linear layer of the backbone is called nothing"):
        run_training(place.compose(*ADAPTER, f"init_from={base.path}", "adapter.layers=[nothing]"))


def test_the_run_itself_is_trained_on(trained):
    place, _, run = trained
    done = run_training(place.compose(f"init_from={run.path}", "callbacks.pictures=null"))["diffusion"]
    assert find_model(str(done.path), str(place.outputs), "diffusion")[0] == done.model
