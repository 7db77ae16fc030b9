"""The plugin's operators and the import, in FiftyOne itself, with its database."""

import json
from pathlib import Path

import numpy as np
import open3d
import pytest
import trimesh
import yaml
from PIL import Image
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from tests.runs.conftest import Place, _no_pretrained_weights, _short_turntables, balls  # noqa: F401 (fixtures)
from tests.viewing.conftest import PLUGINS

from fieldforge.errors import UserError
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.viewing.commands import configured
from fieldforge.viewing.generation_slices import generated_slices, nearest_files, score_fields
from fieldforge.viewing.groups import add_group, new_dataset
from fieldforge.viewing.scoring import scoring_by
from fieldforge.viewing.training_set import run_import

URI = "@fieldforge/generation"
SMALL = {"n": 2, "seed": 5, "guidance": 3, "steps": 2, "resolution": 16}


@pytest.fixture(scope="module")
def trained(balls, clip_folder, tmp_path_factory):  # noqa: F811
    """A model of captions and views."""
    place = Place(balls, tmp_path_factory.mktemp("viewing"))
    done = run_training(
        place.compose(
            "conditioner/parts=[clip_text,clip_image]",
            f"conditioner.clip={clip_folder}",
            "conditioner.parts.clip_image.tokens=false",
            f"+latent_data.transforms.view={{_target_:fieldforge.conditioning.transforms.View,root:{balls}}}",
        )
    )
    return place, done["diffusion"]


@pytest.fixture(scope="module")
def shown(library, balls, tmp_path_factory):  # noqa: F811
    """The training split as a dataset."""
    folder = tmp_path_factory.mktemp("shown")
    run_import(
        configured(
            "fiftyone", {"shards": str(balls), "split": "train", "views": 2, "name": "balls", "output": str(folder)}
        )
    )
    return library.load_dataset("balls")


def execute(opened, operator: str, place: Place, delegate: bool = False, selected=(), **params):
    import fiftyone.operators as foo

    context = {"dataset": opened, "selected": list(selected)}
    return foo.execute_operator(
        f"{URI}/{operator}",
        context,
        params={"output_dir": str(place.outputs), **SMALL, **params},
        request_delegation=delegate,
    )


def test_every_stored_sample_is_a_group_with_what_is_known_of_it(shown):
    assert shown.persistent
    assert shown.group_media_types == {"view 1": "image", "view 2": "image", "points": "3d"}
    assert len(shown) == 9
    groups = [shown.get_group(sample.group.id) for sample in shown]
    first = groups[0]["points"]
    assert (first["name"], first["class"], first["asset"], first["captions"]) == (
        "red ball", "red", "ball-0", ["a red ball", "a ball"],
    )  # fmt: skip
    assert first.tags == ["train"]
    scene = json.loads(Path(first.filepath).read_text())
    (node,) = scene["children"]
    cloud = open3d.io.read_point_cloud(str(Path(first.filepath).parent / node["pcdPath"]))
    assert np.linalg.norm(np.asarray(cloud.points), axis=1) == pytest.approx(0.3, abs=0.01)


def test_a_name_that_is_taken_is_a_sentence_and_the_dataset_stays(shown, balls, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match="name=balls: FiftyOne has a dataset of that name"):
        run_import(configured("fiftyone", {"shards": str(balls), "name": "balls", "output": str(tmp_path / "out")}))
    assert len(shown) == 9
    assert not (tmp_path / "out").exists()


def test_a_failure_on_the_way_leaves_no_dataset(library, balls, tmp_path, monkeypatch):  # noqa: F811
    def fails(*_):
        raise UserError("this sample is bad")

    monkeypatch.setattr("fieldforge.viewing.training_set.stored_files", fails)
    with pytest.raises(UserError, match="this sample is bad"):
        run_import(configured("fiftyone", {"shards": str(balls), "name": "half", "output": str(tmp_path)}))
    assert not library.dataset_exists("half")


def test_a_text_becomes_the_samples_of_sample_py_with_their_scores(library, shown, trained, tmp_path):
    place, run = trained
    done = execute(shown, "generate_from_text", place, prompt="a red ball", run=str(run.path), dataset="made")
    assert done.result == {"samples": 2, "dataset": "made", "scores": "fields score_…"}
    made = library.load_dataset("made")
    groups = [made.get_group(sample.group.id) for sample in made]
    assert len(groups) == 2

    words = {"run": str(run.path), "output_dir": str(place.outputs), "output": str(tmp_path / "out"), "seed": 5, "n": 2}
    words |= {"prompt": "a red ball", "steps": 2, "resolution": 16, "guidance.scale": 3}
    outputs = []
    run_sampling(configured("sample", words), lambda output, entry, folder: outputs.append((output, entry)))
    scoring = scoring_by(run.model, None)
    for seed, group, (output, entry) in zip((5, 6), groups, outputs, strict=True):
        sample = group["picture"]
        assert (sample["prompt"], sample["seed"], sample["model"]) == ("a red ball", seed, str(run.path))
        assert (sample["guidance"], sample["steps"]) == (3.0, 2)
        own, there = (np.asarray(Image.open(path)) for path in (sample.filepath, tmp_path / "out" / entry["thumbnail"]))
        np.testing.assert_array_equal(own, there)
        score = scoring.of(output, "a red ball")
        assert {f"score_{name}": sample[f"score_{name}"] for name in score.values} == {
            f"score_{name}": value for name, value in score.values.items()
        }
        assert ("nearest" in group) == (score.nearest is not None)


def test_a_shape_stands_beside_its_nearest_training_shape(library, trained, balls, tmp_path):  # noqa: F811
    """A sphere, as a tiny model makes no surface."""
    _, run = trained
    scoring = scoring_by(run.model, str(balls))
    trimesh.creation.icosphere(subdivisions=3, radius=1).export(tmp_path / "ball.glb")
    score = scoring.of(scoring.judge.domain.read_output(tmp_path / "ball.glb"), "a red ball")
    ids = [meta["id"] for meta in scoring.judge.metas]
    radius = 0.3 + 0.4 * ids.index(score_fields(score)["nearest_id"]) / 8
    apart = score.values["nearest_distance"]  # of points on two spheres, not those that are nearest of all
    assert 0.9 - radius <= apart <= 0.9 - radius + 0.3
    assert score.values["name"] == (score_fields(score)["nearest_name"] == "red ball")

    entry = {"thumbnail": "ball.png", "glb": "ball.glb", "caption": "a red ball"}
    Image.new("RGB", (8, 8)).save(tmp_path / "ball.png")
    slices = generated_slices(entry, tmp_path, nearest_files(score, scoring, entry, tmp_path))
    assert list(slices) == ["picture", "prompt", "mesh", "nearest"]
    nodes = json.loads(slices["mesh"].path.read_text())["children"]
    assert [(node["name"], node["position"][0]) for node in nodes] == [("shape", 0), ("nearest training shape", 2.2)]
    add_group(new_dataset("beside", "picture"), slices, score_fields(score))
    beside = library.load_dataset("beside")
    assert beside.group_media_types["mesh"] == "3d"
    assert beside.first()["nearest_licence"] == "CC0"


def test_the_selected_picture_is_asked_with_and_the_operation_can_be_delegated(library, shown, trained):
    from fiftyone.operators.delegated import DelegatedOperationService

    place, run = trained
    words = {"prompt": "a ball", "run": str(run.path), "dataset": "from_picture", "data_root": str(place.data), "n": 1}
    queued = execute(shown, "generate_from_picture", place, True, [shown.first().id], **words)
    assert not library.dataset_exists("from_picture")
    DelegatedOperationService().execute_queued_operations(limit=1)
    document = DelegatedOperationService().get(queued.result["id"])
    assert document.run_state == "completed", document.result
    (sample,) = library.load_dataset("from_picture")
    assert (sample["prompt"], sample["prompt_picture"]) == ("a ball", shown.first().filepath)
    group = library.load_dataset("from_picture").get_group(sample.group.id)
    assert Path(group["prompt"].filepath).read_bytes() == Path(shown.first().filepath).read_bytes()


def test_models_are_compared_in_slices_of_one_group(library, shown, trained):
    place, run = trained
    models = [str(run.path), str(run.path.parent)]
    done = execute(shown, "compare_models", place, prompt="a red ball", runs=models, dataset="compared")
    assert done.result["samples"] == 4
    compared = library.load_dataset("compared")
    names = [run.path.name, run.path.parent.name]
    assert [name for name in compared.group_slices if name not in ("prompt", "meshes")] == names
    groups = [compared.get_group(sample.group.id) for sample in compared]
    for seed, group in zip((5, 6), groups, strict=True):
        assert {group[name]["model"] for name in names} == set(names)
        assert {one["seed"] for one in group.values()} == {seed}
        first, second = (group[name] for name in names)
        assert first["score_empty"] == second["score_empty"] is not None, "one model under two names"


@pytest.mark.parametrize(
    ("operator", "params", "sentence"),
    [
        ("generate_from_text", {"prompt": "  "}, "prompt is missing"),
        ("generate_from_text", {"prompt": "a", "dataset": "plain"}, "dataset=plain holds samples that are no groups"),
        ("generate_from_text", {"prompt": "a", "data_root": "/nowhere"}, "/nowhere.*: there is no manifest"),
        ("generate_from_text", {"prompt": "a", "seed": -1}, "Path: seed"),
        ("generate_from_text", {"prompt": "a", "run": "/nowhere"}, "run=/nowhere: there is no such run"),
        ("generate_from_picture", {}, "image is missing"),
        ("animate_picture", {"image": {"absolute_path": "/nowhere.png"}}, "no such file"),
        ("compare_models", {"prompt": "a", "runs": ["RUN"]}, "must name two or more"),
        ("compare_models", {"prompt": " ", "runs": ["RUN", "/nowhere"]}, "prompts= is empty"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_written(
    library, shown, trained, operator, params, sentence
):
    import fiftyone.operators as foo

    place, run = trained
    if not library.dataset_exists("plain"):
        library.Dataset("plain")
    before = {path for path in place.outputs.rglob("*")}
    if "runs" in params:
        params = {**params, "runs": [str(run.path) if one == "RUN" else one for one in params["runs"]]}
    with pytest.raises(foo.executor.ExecutionError, match=sentence) as failure:
        execute(shown, operator, place, **{"run": str(run.path), "dataset": "none", **params})
    last = str(failure.value).strip().splitlines()[-1]
    assert last.startswith("fieldforge.errors.UserError: ") or last.startswith("Validation error"), "FiftyOne's own"
    assert not library.dataset_exists("none")
    assert {path for path in place.outputs.rglob("*")} == before


def test_a_form_offers_the_runs_that_can_do_it(library, shown, trained):
    import fiftyone.operators as foo

    place, run = trained
    offered = {}
    for operator in ("generate_from_text", "animate_picture"):
        context = foo.executor.ExecutionContext(
            request_params={"params": {"output_dir": str(place.outputs)}, "dataset_name": "balls"}
        )
        form = foo.get_operator(f"{URI}/{operator}").resolve_input(context).type.properties
        offered[operator] = [choice.value for choice in form["run"].view.choices], "no_run" in form
    assert offered == {"generate_from_text": ([str(run.path)], False), "animate_picture": ([], True)}


def test_the_plugin_lists_its_operators(library):
    import fiftyone.operators as foo

    listed = yaml.safe_load((PLUGINS / "generation" / "fiftyone.yml").read_text())["operators"]
    assert {operator.uri for operator in foo.list_operators(builtin=False)} == {f"{URI}/{name}" for name in listed}
