"""sample.py by picture, text and class, against a prompt, on the way between two, from a mesh, and through a prior."""

import errno
import json
import os
import signal
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from hydra import compose, initialize_config_dir
from PIL import Image
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from tests.preparation.make import png, write_zip
from tests.runs.conftest import Place

from fieldforge.asking.condition_guidance import ConditionGuidance, usual_scale
from fieldforge.asking.drawing import Drawing
from fieldforge.asking.guidance import Guided
from fieldforge.asking.jobs import Job, batches, jobs
from fieldforge.asking.requests import request
from fieldforge.asking.sampling_model import encoded
from fieldforge.asking.settings import SamplingSettings
from fieldforge.asking.weak_guidance import AutoGuided
from fieldforge.conditioning.stored import embedding_folder
from fieldforge.configuration.settings import read_settings
from fieldforge.data.manifest import read_manifest
from fieldforge.errors import UserError
from fieldforge.evaluation.prior_embeddings import Truth
from fieldforge.generation import Generator
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.prior_stage import load_prior
from fieldforge.training.processes import interruption
from fieldforge.training.processes.interruption import Interrupted

SMALL = ["steps=2", "resolution=16", "n=1"]
KILL = f"+callbacks.kill={{_target_:tests.runs.tiny.SignalAt,step:3,number:{int(signal.SIGTERM)}}}"
TINY_PRIOR = [
    "stages=[prior]",
    "+prior.source=clip_image",
    "+training@training.prior=stage",
    "training.prior.batch_size=4",
    "training.prior.budget={max_steps:6,warmup_steps:2}",
    "backbone.group=1",
    "conditioner/parts=[clip_text,clip_image]",
    "conditioner.sources=[clip_text]",
]


@pytest.fixture(scope="module")
def trained(balls, clip_folder, tmp_path_factory):  # noqa: F811
    """A model of class, caption and view, through towers on disk."""
    place = Place(balls, tmp_path_factory.mktemp("sampling"))
    done = run_training(
        place.compose(
            "conditioner/parts=[class,clip_text,clip_image]",
            f"conditioner.clip={clip_folder}",
            "conditioner.parts.clip_image.tokens=false",
            f"+latent_data.transforms.view={{_target_:fieldforge.conditioning.transforms.View,root:{balls}}}",
        )
    )
    return place, done["diffusion"]


@pytest.fixture(scope="module")
def prior(trained, clip_folder):  # noqa: F811
    place, _ = trained
    return run_training(place.compose(*TINY_PRIOR, f"conditioner.clip={clip_folder}"))["prior"]


@pytest.fixture
def photo(tmp_path):
    """A red square on a plain ground."""
    pixels = np.full((60, 90, 3), 240, np.uint8)
    pixels[20:40, 30:60] = (200, 30, 30)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="module")
def sampler(trained):
    """With weights far enough from their start that conditions matter, and steps enough that rounding does not."""
    loaded = load_diffusion(trained[1].model)[0]
    loaded = replace(loaded, sampler=replace(loaded.sampler, steps=16))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*loaded.model.parameters(), *loaded.conditioner.parameters()]:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return loaded


def command(place: Place, *overrides: str):
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose("sample", [f"output_dir={place.outputs}", *overrides])


def guidance(place: Place, *overrides: str) -> ConditionGuidance:
    chosen = read_settings(command(place, *overrides), SamplingSettings).guidance
    assert isinstance(chosen, ConditionGuidance)
    return chosen


def drawn(sampler, work: list[Job], scale=3.0, negative=None, start=None, strength=1.0, prior=None) -> torch.Tensor:
    return Drawing(Guided(sampler, scale, negative or {}), prior, 1.0, start, strength)(work)


def request_of(sampler, **parts: str):
    return request({"class" if key == "kind" else key: value for key, value in parts.items()}, sampler, sampler.keys)


def test_training_draws_what_heldout_views_give(trained):
    (picture,) = trained[1].pictures.glob("step_*.png")
    assert Image.open(picture).width > 0


def test_several_at_once_with_scales_of_their_own(trained, photo, tmp_path):
    place, _ = trained
    words = ["prompt=a red ball", "class=red", f"image={photo}", "guidance.text=4", "guidance.image=2"]
    run_sampling(command(place, *words, "guidance.negative=a blue ball", f"output={tmp_path / 'out'}", *SMALL))
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert entry["guidance"] == {"text": 4.0, "image": 2.0, "class": 3.0}
    assert (entry["caption"], entry["class"], entry["image"]) == ("a red ball", "red", str(photo))
    assert entry["negative"] == "a blue ball"


def test_the_usual_scale_is_that_of_the_pictures_in_training():
    assert usual_scale({"config": {"monitor": {"pictures": {"scale": 15.0}}}}) == 15.0
    assert usual_scale({"config": {"monitor": {"pictures": None}}}) == usual_scale({"config": {}}) == 3.0
    shown = ConditionGuidance()
    assert shown.scale_for({"caption"}, 15.0) == 15.0
    assert shown.scale_for({"coarse"}, 15.0) == 1.0
    assert ConditionGuidance(scale=2.0).scale_for({"caption"}, 15.0) == 2.0


def test_each_scale_weighs_its_own_source(sampler, photo):
    both = request_of(sampler, caption="a red ball", image=str(photo))
    (job,) = jobs([both], [both], 0, 0, 1, 1)
    text = request_of(sampler, caption="a red ball")
    (only_text,) = jobs([text], [text], 0, 0, 1, 1)
    result = drawn(sampler, [job], {"caption": 4.0, "image": 0.0, "class": 3.0})
    torch.testing.assert_close(result, drawn(sampler, [only_text], 4.0), atol=1e-4, rtol=1e-4)


def test_guidance_is_a_number_or_one_for_each(trained):
    place, _ = trained
    read = {"caption", "class", "image"}
    assert guidance(place).scale_for(read) == guidance(place, "guidance.scale=3").scale_for(read) == 3.0
    assert guidance(place, "guidance.text=4").scale_for(read) == {"caption": 4.0, "image": 3.0, "class": 3.0}
    assert guidance(place).scale_for({"coarse"}) == 1.0  # what is enlarged is to look as the small one
    assert guidance(place, "guidance.text=4").scale_for({"caption", "coarse"}) == {"caption": 4.0, "coarse": 1.0}


def test_guidance_takes_the_form_that_is_asked_for(sampler, trained, tmp_path):
    label = torch.load(trained[1].model, weights_only=True)["fieldforge"]
    text = request_of(sampler, caption="a red ball")
    (job,) = jobs([text], [text], 0, 0, 1, 1)
    plain, conditional = drawn(sampler, [job], 3.0), drawn(sampler, [job], 1.0)

    def formed(*overrides: str) -> torch.Tensor:
        return drawn(guidance(trained[0], *overrides).lead(sampler, label, "").generator, [job], 3.0)

    torch.testing.assert_close(formed("guidance.rescale=0"), plain)
    torch.testing.assert_close(formed("guidance.interval=[0,1e9]"), plain)
    torch.testing.assert_close(formed("guidance.rescale=0.7", "guidance.interval=[1e8,1e9]"), conditional)
    for form, choice in (("guidance.rescale=0.7", "rescaled"), ("guidance.interval=[0.2,5]", "interval")):
        torch.testing.assert_close(formed(form), formed(f"guidance={choice}"))
        assert not torch.allclose(formed(form), plain, atol=1e-3)
    with pytest.raises(UserError, match="learned in"):
        guidance(trained[0], "guidance.rescale=0.7").lead(sampler, {"config": {"distillation": {}}}, "")
    words = ["prompt=a red ball", "guidance.interval=[0.2,5]", f"output={tmp_path / 'out'}"]
    run_sampling(command(trained[0], *words, *SMALL))
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert entry["guidance_interval"] == [0.2, 5.0]


def test_a_scale_of_what_the_model_does_not_read_is_refused(trained):
    place, _ = trained
    with pytest.raises(UserError, match=r"guidance.image is given, .* its scales are guidance.text"):
        guidance(place, "guidance.image=2").scale_for({"caption"})
    with pytest.raises(UserError, match="it is unconditional"):
        guidance(place, "guidance.text=2").scale_for(set())
    with pytest.raises(UserError, match="its scales are guidance= a number"):
        guidance(place, "guidance.text=2").scale_for({"coarse"})


def test_away_from_the_prompt_itself_nothing_is_guided(sampler):
    text = request_of(sampler, caption="a red ball")
    (job,) = jobs([text], [text], 5, 5, 1, 1)
    away = drawn(sampler, [job], 3.0, negative=text.values)
    torch.testing.assert_close(away, drawn(sampler, [job], 1.0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(drawn(sampler, [job], 3.0), away, atol=1e-3)


def test_progress_within_a_batch_is_shown_and_changes_nothing(sampler):
    wanted = [request_of(sampler, caption="a red ball")]
    work = jobs(wanted, wanted, 0, 0, 2, 1)
    draw = Drawing(Guided(sampler, 3.0, {}))
    seen: list[int] = []

    def look(evaluation, estimate):
        seen.append(evaluation)

    assert torch.equal(draw(work, look), draw(work))
    assert seen == list(range(1, draw.evaluations + 1))
    varied = replace(draw, start=torch.zeros(1, *sampler.latent_shape[:2]), strength=0.4)
    seen.clear()
    varied(work, look)
    assert seen == list(range(1, varied.evaluations + 1))


def test_places_that_cannot_be_written_to_are_told(trained, tmp_path, monkeypatch):
    place, run = trained
    (tmp_path / "a_file").touch()
    with pytest.raises(UserError, match=r"output=.*a_file/below cannot be made a folder to write to"):
        run_sampling(command(place, f"output={tmp_path}/a_file/below"))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fieldforge.domains.shape_outputs.Shapes.write", full)
    with pytest.raises(UserError, match=rf"cannot write {tmp_path}/out \(No space left on device\)"):
        run_sampling(command(place, f"output={tmp_path}/out", "n=1", "resolution=8"))
    (run.path / "evaluation").write_text("in the way")
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        config = compose("evaluate", [f"run={run.path}"])
    with pytest.raises(UserError, match=r"run=.*evaluation cannot be made a folder to write to"):
        run_evaluation(config)
    (run.path / "evaluation").unlink()


def test_ways_begin_and_end_at_their_ends(sampler, trained, tmp_path):
    start, end = request_of(sampler, caption="a red ball"), request_of(sampler, caption="a kitchen sink")
    first, middle, last = jobs([start], [end], 1, 7, 1, 3)
    way = drawn(sampler, [first, middle, last])
    plain = [drawn(sampler, jobs([r], [r], seed, seed, 1, 1)) for r, seed in ((start, 1), (end, 7))]
    torch.testing.assert_close(way[:1], plain[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(way[2:], plain[1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(way[1], way[0], atol=1e-3)

    to = ["prompt=a red ball", "to=a kitchen sink", "to_seed=7", "frames=3", f"output={tmp_path / 'out'}"]
    run_sampling(command(trained[0], *to, *SMALL))
    listed = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert [entry["frame"] for entry in listed] == [0, 0.5, 1]
    assert listed[1]["thumbnail"] == "001_a-red-ball-to-a-kitchen-sink-0-50_0.png"
    assert Image.open(tmp_path / "out" / "strip.png").width > 3 * 160


def test_the_weaker_model_goes_the_same_way(trained, sampler):
    weak, _, _ = load_diffusion(trained[1].model)
    with torch.no_grad():
        for values in weak.model.parameters():
            values.mul_(0.9)
    led = AutoGuided(**{field.name: getattr(sampler, field.name) for field in fields(Generator)}, weak=weak)
    start, end = request_of(led, caption="a red ball"), request_of(led, caption="a kitchen sink")
    way = drawn(led, jobs([start], [end], 1, 1, 1, 2), 2.0)
    plain = [drawn(led, jobs([r], [r], 1, 1, 1, 1), 2.0) for r in (start, end)]
    torch.testing.assert_close(way, torch.cat(plain), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(way[:1], way[1:], atol=1e-3)


def test_noise_on_the_way_keeps_its_variance(sampler):
    from fieldforge.generation import between

    a, b = torch.randn(2, 1, 200, 200, generator=torch.Generator().manual_seed(0))[..., None, :].flatten(1, 2)[:, None]
    for weight in (0.0, 0.25, 0.5, 1.0):
        assert between(a, b, torch.tensor([weight])).std() == pytest.approx(1, abs=0.02)


def test_rounded_products_reach_the_model_and_the_prior_and_are_told(trained, prior, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Generator, "computed", lambda own, arithmetic: seen.append(arithmetic.facts()) or own)
    words = ["prompt=a red ball", f"prior={prior.path}", "precision=bf16-mixed", f"output={tmp_path / 'out'}", *SMALL]
    run_sampling(command(trained[0], *words))
    assert seen == [{"precision": "bf16-mixed"}] * 2
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert entry["precision"] == "bf16-mixed"


def test_variations_of_a_mesh(trained, sampler, tmp_path):
    place, run = trained
    trimesh.creation.icosphere(subdivisions=2, radius=3.0).export(tmp_path / "ball.glb")
    _, autoencoder, label = load_diffusion(run.model)
    latents = encoded(autoencoder, load_domain(label, run.model).read_file(tmp_path / "ball.glb", 0))
    assert latents.shape == (1, *autoencoder.latent_shape[:2])
    nothing = request_of(sampler)
    work = jobs([nothing], [nothing], 0, 0, 2, 1)
    some, more = (drawn(sampler, work, start=latents, strength=strength) for strength in (0.2, 0.9))
    assert some.shape == (2, *autoencoder.latent_shape[:2])
    assert not torch.allclose(some, more, atol=1e-3)
    run_sampling(command(place, f"from={tmp_path / 'ball.glb'}", "strength=0.4", f"output={tmp_path / 'out'}", *SMALL))
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert (entry["from"], entry["strength"]) == (str(tmp_path / "ball.glb"), 0.4)


def test_useless_lines_of_a_file_are_told_and_the_rest_is_made(trained, tmp_path, caplog):
    lines = ['{"prompt": "a red ball"}', "{", '{"class": "purple"}', '{"image": "none.png"}', '{"class": "blue"}']
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    run_sampling(command(trained[0], f"prompts={tmp_path / 'prompts.jsonl'}", f"output={tmp_path / 'out'}", *SMALL))
    listed = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert [(entry.get("caption"), entry.get("class")) for entry in listed] == [("a red ball", None), (None, "blue")]
    for line, reason in ((2, "is not JSON"), (3, "'purple'"), (4, "no such file")):
        assert any(f"line {line}: " in text and reason in text for text in caplog.messages)


def test_jobs_that_are_asked_differently_are_not_mixed(sampler):
    red, named = request_of(sampler, kind="red"), request_of(sampler, caption="a ball")
    parts = batches(jobs([red, named, named], [red, named, named], 0, 0, 2, 1), 3)
    assert [len(part) for part in parts] == [2, 3, 1]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["prompt=' '"], "prompt= is empty"),
        (["class=gren"], "did you mean green"),
        (["image=/nowhere.png"], "no such file"),
        (["image=BLANK"], "is blank"),
        (["image=BROKEN"], "not a readable picture"),
        (["guidance.negative=' '"], "guidance.negative= is empty"),
        (["prompt=x", "guidance.negative=y", "guidance.scale=1"], "no effect at guidance=1"),
        (["to=a ball"], "give the first one as prompt="),
        (["prompt=x", "to=' '"], "to= is empty"),
        (["frames=4"], "no end"),
        (["prompt=x", "to=y", "frames=1"], "frames = 1"),
        (["from=/nowhere.glb"], "from=/nowhere.glb: there is no such file"),
        (["from=BROKEN"], "from=.*broken"),
        (["guidance.text=much"], "guidance.text = 'much' is not a number"),
        (["guidance.rescale=2"], "guidance.rescale = 2 is not a number from 0 to 1"),
        (["guidance.interval=[5,0.2]"], "the lower first"),
        (["guidance.interval=3"], "guidance.interval = 3 is not a list"),
        (["guidance.text=2", "guidance.rescale=0.7"], "one scale for all"),
        (["seed=18446744073709551616"], "seed = 18446744073709551616 must be a whole number from 0"),
        (["class=[]"], r"class=\[\] names nothing"),
        (["remove_background=maybe"], "remove_background = .maybe. must be true or false"),
        (["steps=0"], "steps = 0 must be a whole number from 1 to 100000"),
        (["strength=0.5"], "strength=0.5 has no effect without from="),
        (["from=BROKEN", "strength=2"], "strength = 2 must be a number above 0"),
        (["mask=m.png"], "mask= has no effect without from="),
        (["from=BROKEN", "mask=BLANK"], "mask=.*blank.png: a shape is not completed by a mask"),
        (["from=BROKEN", "mask="], "mask= is empty"),
        (["from=BROKEN", "paste=true"], "paste=true has no effect without mask="),
        (["prior_guidance=2"], "prior_guidance=2 has no effect without prior="),
        (["from="], "from= is empty"),
        (["prompts=."], "prompts=. is a folder"),
        (["guidance.rescale=0.5", "guidance.scale=1"], "guidance.rescale has no effect at guidance=1"),
        (["guidance.interval=[0.2,5]", "guidance.scale=1"], "guidance.interval has no effect at guidance=1"),
        (["output=BROKEN/x"], "cannot be made a folder"),
        (["remove_background=true"], "remove_background=true has no effect without a picture"),
        (["prompt=a ball", "to=a ball"], "to=a ball is where the way begins"),
        (["to_seed=0"], "to_seed=0 is where the way begins"),
        (["prompts=LINES", "to=a ball"], "to=a ball is where the way from a ball begins"),
        (["prompts=LINES", "remove_background=true"], "has no effect without a picture"),
        (["prompts=LINES", "n=900000"], "n=900000 makes 1800000 samples"),
        (["n=100000000"], "n = 100000000 must be a whole number from 1 to 1000000"),
        (["device=meta"], "device=meta is not usable here"),
        (["guidance=autoguidance"], "guidance.run has no value"),
        (["guidance=classifier", "guidance.run=/nowhere"], "guidance.run=/nowhere: there is no such run"),
        (["prior=/nowhere"], "prior=/nowhere: there is no such run, the newest finished ones are ."),
    ],
)
def test_mistakes_are_one_sentence(trained, tmp_path, overrides, sentence):
    Image.new("RGB", (8, 8), "white").save(tmp_path / "blank.png")
    (tmp_path / "broken.glb").write_bytes(b"glTF")
    (tmp_path / "lines.txt").write_text("a ball\na box\n")
    files = {
        "LINES": str(tmp_path / "lines.txt"),
        "BLANK": str(tmp_path / "blank.png"),
        "BROKEN": str(tmp_path / "broken.glb"),
    }
    for name, path in files.items():
        overrides = [override.replace(name, path) for override in overrides]
    with pytest.raises(UserError, match=sentence) as mistake:
        run_sampling(command(trained[0], f"output={tmp_path / 'out'}", *SMALL, *overrides))
    assert "\n" not in str(mistake.value)
    assert not (tmp_path / "out").exists()


def test_another_sampler_than_the_runs_own(trained, tmp_path):
    place, _ = trained
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        search = f"hydra.searchpath=[file://{CONFIGS}]"
        words = [f"output_dir={place.outputs}", "prompt=a red ball", f"output={tmp_path / 'out'}", *SMALL]
        run_sampling(compose("sample", [search, *words, "sampler=unipc", "sampler.solver.order=3"]))
        (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
        assert (entry["sampler"], entry["steps"]) == ("UniPC", 2)
        with pytest.raises(UserError, match="sampler=ddpm_learned needs the variance"):
            run_sampling(compose("sample", [search, *words, "sampler=ddpm_learned"]))


def test_guidance_that_is_learned_in_is_not_had_otherwise(sampler):
    learned = {"config": {"distillation": {}, "guidance": {"_target_": "fieldforge.diffusion.guidance.baked.Baked"}}}
    ConditionGuidance().check_form(learned, 3.0)
    with pytest.raises(UserError, match="one scale for all"):
        ConditionGuidance(text=2.0).check_form(learned, {"caption": 2.0})
    with pytest.raises(UserError, match="negative= has no effect"):
        ConditionGuidance(negative="armrests").check_form(learned, 3.0)


def test_the_weaker_model_sees_the_features_of_a_prior(trained, prior, sampler):
    _, run = trained
    weak, _, _ = load_diffusion(run.model)
    mine = {field.name: getattr(sampler, field.name) for field in fields(Generator)}
    features = load_prior(prior.model)({"caption": ["a red ball"]}, [3], 1.0)
    guided = AutoGuided(**mine, weak=weak).steering({"features": features}, 1, 2.0)
    seen = guided.guidance.weak.condition.vector  # type: ignore[attr-defined]
    torch.testing.assert_close(seen, weak.steering({"features": features}, 1, 1.0).condition.vector)
    assert not torch.equal(seen, weak.steering({}, 1, 1.0).condition.vector)


def test_a_variation_goes_no_further_than_something_new(trained, sampler):
    nothing = request_of(sampler)
    with pytest.raises(UserError, match="strength=2 must be above 0"):
        drawn(
            sampler,
            jobs([nothing], [nothing], 0, 0, 1, 1),
            start=torch.zeros(1, *sampler.latent_shape[:2]),
            strength=2.0,
        )


def test_evaluation_measures_pictures_and_prompts(trained, tmp_path, capsys):
    _, run = trained
    catalogue = ["name=Balls"]
    icons = {}
    for number in range(3):
        catalogue += [f"name#{number + 1}=ball", f"id#{number + 1}=ball-{number}", f"icon#{number + 1}=/{number}.png"]
        icons[f"{number}.png"] = png(np.pad(np.full((20, 20, 4), 60 * number + 60, np.uint8), ((6, 6), (6, 6), (0, 0))))
    write_zip(tmp_path / "balls.sh3f", {"PluginFurnitureCatalog.properties": "\n".join(catalogue).encode(), **icons})
    small = ["steps=2", "resolution=16"]
    prompts = [f"prompts.{key}" for key in (*small, "seeds=[0]", "count=2", "guidance=[1.0,3.0]")]
    images = [f"images.{key}" for key in (*small, f"libraries={tmp_path}", "icons=2")]
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        run_evaluation(compose("evaluate", [f"run={run.path}", *prompts, *images]))
    report = json.loads((run.path / "evaluation" / "images.json").read_text())
    assert report["icons"]["samples"] == 2
    assert report["icons"]["chance"] == pytest.approx(1 / 9)
    assert 0 <= report["icons"]["reconstructed"] <= 1
    views = report["views"]
    assert views["samples"] == 3
    assert views["reduction"] == pytest.approx(1 - views["conditional"] / views["unconditional"])
    assert all((run.path / "evaluation" / name).is_file() for name in ("icons.png", "views.png", "prompts.png"))
    assert (run.path / "evaluation" / "images.html").read_text().count("data:image/webp") == 2
    assert views["intervals"]["conditional"]["view_distance"]["mean"] == pytest.approx(views["conditional"])
    by_guidance = json.loads((run.path / "evaluation" / "prompts.json").read_text())["by_guidance"]
    assert set(by_guidance) == {"1", "3"}
    assert all(figures["empty"]["of"] == 2 for figures in by_guidance.values())
    assert "whose icon is given" in capsys.readouterr().out


def test_a_prior_is_trained_from_stored_vectors_and_resumes_exactly(trained, prior, balls, clip_folder, tmp_path):  # noqa: F811
    assert read_manifest(embedding_folder(balls, "clip_image")).schema.name == "embedding"
    other = Place(balls, tmp_path)
    words = [*TINY_PRIOR, f"conditioner.clip={clip_folder}"]
    with pytest.raises(Interrupted):
        run_training(other.compose(*words, KILL))
    interruption.forget()
    again = run_training(other.compose(*words))["prior"]
    weights = [torch.load(run.model, weights_only=True)["state_dict"] for run in (prior, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert again.fingerprint == prior.fingerprint


def test_a_prior_continues_as_if_it_had_never_ended(trained, clip_folder, balls, tmp_path):  # noqa: F811
    place = Place(balls, tmp_path)
    words = [*TINY_PRIOR, "training.prior.budget.final_rate=1", f"conditioner.clip={clip_folder}"]
    short = run_training(place.compose(*words))["prior"]
    longer = [*words, "training.prior.budget.max_steps=9"]
    continued = run_training(place.compose(*longer, f"continue_from={short.path}"))["prior"]
    at_once = run_training(place.compose(*longer, "continue_from=scratch"))["prior"]
    assert continued.path != at_once.path
    weights = [torch.load(run.model, weights_only=True)["state_dict"] for run in (continued, at_once)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_prior_stands_between_a_prompt_and_an_image_conditioned_model(trained, prior, sampler, tmp_path):
    imagined = load_prior(prior.model)
    features = imagined({"caption": ["a red ball", "a bathtub"]}, [3, 3], 1.0)["clip_image"]
    assert features.vector.shape == (2, 24)
    imagined.check(sampler.conditioner)
    words = ["prompt=a red ball", f"prior={prior.path}", f"output={tmp_path / 'out'}"]
    run_sampling(command(trained[0], *words, *SMALL))
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert (entry["prior"], entry["prior_guidance"]) == (str(prior.path), 1.0)
    with pytest.raises(UserError, match="prior= makes a picture out of a text: give prompt="):
        run_sampling(command(trained[0], *words[1:], *SMALL))


def test_a_picture_and_a_text_that_would_only_make_one_are_refused_together(photo):
    sees = SimpleNamespace(keys={"image"}, check_class=lambda name: None)
    with pytest.raises(UserError, match=r"prompt= would only make a picture \(prior=\), and image= is one"):
        request({"caption": "a chair", "image": str(photo)}, sees, {"image", "caption"})
    assert set(request({"image": str(photo)}, sees, {"image", "caption"}).values) == {"image"}


def test_evaluation_of_a_prior_looks_for_the_assets_meant(prior, balls, capsys):
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        config = compose("evaluate", [f"run={prior.path}", "prior.seeds=[0,1]", "prior.steps=2", "prior.pictures=2"])
    run_evaluation(config)
    report = json.loads((prior.path / "evaluation" / "prior.json").read_text())
    assert (report["assets"], report["distinct_captions"], report["split"]) == (3, 3, "heldout")
    assert report["retrieval"]["top_1"]["chance"] == pytest.approx(1 / 3)
    assert report["retrieval"]["top_5"] == {"share": 1.0, "chance": 1.0}  # of three
    assert all(-1 <= cosine <= 1 for cosine in report["cosine"].values())
    alike = {"own_cosine": report["cosine"]["own"], "other_cosine": report["cosine"]["others"], "top_5": 1.0}
    alike["top_1"] = report["retrieval"]["top_1"]["share"]
    assert {name: figure["mean"] for name, figure in report["intervals"].items()} == pytest.approx(alike)
    assert "embeddings" in (prior.path / "evaluation" / "prior.html").read_text()
    sheet = Image.open(prior.path / "evaluation" / "prior.png")
    assert sheet.width > 3 * 128  # the asset meant, and a view for each seed
    assert "the asset meant is in the top 1" in capsys.readouterr().out
    other = replace(load_prior(prior.model), encoder={"kind": "clip_image", "weights": "another"})
    with pytest.raises(UserError, match="made by another encoder"):
        Truth.of(str(balls), other, "heldout", None)


def test_a_prior_of_another_encoder_is_refused(prior, sampler):
    other = replace(load_prior(prior.model), encoder={"kind": "clip_image", "weights": "another"})
    with pytest.raises(UserError, match="made by another encoder"):
        other.check(sampler.conditioner)


def test_a_prior_cannot_be_given_what_it_generates(trained, clip_folder):  # noqa: F811
    place, _ = trained
    with pytest.raises(UserError, match="take it out"):
        run_training(place.compose(*TINY_PRIOR[:-1], f"conditioner.clip={clip_folder}"))
