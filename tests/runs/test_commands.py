"""sample.py and evaluate.py on the smallest runs; mistakes of users are one sentence each."""

import json
import os

import pytest
import torch
import trimesh
from PIL import Image
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from tests.runs.conftest import Place
from tests.runs.forked import type_command

from fieldforge.domains.shape_outputs import Shapes
from fieldforge.domains.view_features import StoredViews
from fieldforge.errors import UserError
from fieldforge.metrics.measures import MEASURES
from fieldforge.runs.compare import run_comparison
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.serve import run_app
from fieldforge.runs.train import run_training

SMALL = ["steps=2", "resolution=32"]


@pytest.fixture(scope="module")
def walked(balls, tmp_path_factory):
    place = Place(balls, tmp_path_factory.mktemp("walked"))
    return place, run_training(place.compose("training.autoencoder.budget.max_steps=40"))


def command(place: Place, name: str, *overrides: str):
    from hydra import compose, initialize_config_dir

    from fieldforge.runs.entry import CONFIGS

    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose(name, [f"output_dir={place.outputs}", *overrides])


def test_sampling_writes_files_and_gallery_and_repeats_itself(walked, tmp_path):
    place, done = walked
    pages = [
        run_sampling(command(place, "sample", "class=[red,blue]", "n=1", f"output={tmp_path / name}", *SMALL))
        for name in ("first", "second")
    ]
    listed = json.loads((tmp_path / "first" / "samples.json").read_text())
    assert [(entry["class"], entry["seed"]) for entry in listed["samples"]] == [("red", 0), ("blue", 0)]
    assert listed["fingerprint"] == done["diffusion"].fingerprint
    for entry in listed["samples"]:
        assert Image.open(tmp_path / "first" / entry["thumbnail"]).size == (320, 320)
        if entry["glb"]:
            again = (tmp_path / "second" / entry["glb"]).read_bytes()
            assert (tmp_path / "first" / entry["glb"]).read_bytes() == again
            assert len(trimesh.load(tmp_path / "first" / entry["ply"], force="mesh").faces) > 0
    assert "<html" in pages[0].read_text()[:200].lower()


@pytest.mark.parametrize("words", [["guidance=0.5", "sampler=unipc"], ["guidance.class=2"]])
def test_sampling_as_it_is_typed(walked, tmp_path, words):
    place, _ = walked
    typed = [f"output_dir={place.outputs}", f"output={tmp_path}", "class=red", "n=1", "seed=0", *words, *SMALL]
    done = type_command("sample.py", typed, tmp_path)
    _, stderr = done.communicate(timeout=240)
    assert done.returncode == 0, stderr
    (entry,) = json.loads((tmp_path / "samples.json").read_text())["samples"]
    expected = {"guidance=0.5": 0.5}.get(words[0], {"class": 2.0})
    assert (entry["guidance"], entry.get("sampler")) == (expected, "UniPC" if "sampler=unipc" in words else None)


def test_what_is_drawn_is_kept_whatever_fails_after_it(walked, tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise ValueError("no encoder")

    def third(shapes, index=0, resolution=128, mesh=Shapes.mesh):
        if len(json.loads((tmp_path / "samples.json").read_text())["samples"]) == 2:
            raise KeyboardInterrupt
        return mesh(shapes, index, resolution)

    words = ["class=red", "n=1", "batch_size=1", f"output={tmp_path}", *SMALL]
    monkeypatch.setattr("fieldforge.domains.shape_outputs.write_turntable", broken)
    run_sampling(command(walked[0], "sample", *words))
    (entry,) = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert entry["turntable"] is None
    assert (tmp_path / entry["thumbnail"]).is_file()
    if entry["glb"]:
        assert f"{entry['thumbnail'][:-4]}.gif is not written (ValueError: no encoder)" in caplog.text

    monkeypatch.setattr(Shapes, "mesh", broken)
    run_sampling(command(walked[0], "sample", *words, "n=2"))
    assert (tmp_path / "index.html").read_text().count("<article") == 2
    assert "001_red_1 is not written (ValueError: no encoder)" in caplog.text

    (tmp_path / "samples.json").write_text('{"samples": []}')
    monkeypatch.setattr(Shapes, "mesh", third)
    with pytest.raises(KeyboardInterrupt):
        run_sampling(command(walked[0], "sample", *words, "n=4"))
    assert (tmp_path / "index.html").read_text().count("<article") == 2


def test_a_sheet_that_cannot_be_drawn_costs_no_numbers(walked, monkeypatch, caplog):
    def broken(*_, **__):
        raise ValueError("no font")

    place, done = walked
    for module in ("evaluation.reconstructions", "evaluation.prompt_following"):
        monkeypatch.setattr(f"fieldforge.{module}.picture_sheet", broken)
    small = [f"prompts.{key}" for key in ("steps=2", "resolution=16", "seeds=[0]", "count=1")]
    small += ["reconstruction.resolution=16", "+domain.views=1"]
    for stage, name, further in (("autoencoder", "heldout", ["limit=1"]), ("diffusion", "prompts", [])):
        report = done[stage].path / "evaluation" / f"{name}.json"
        report.unlink(missing_ok=True)
        run_evaluation(command(place, "evaluate", f"run={done[stage].path}", *small, *further))
        assert json.loads(report.read_text())["measured_with"]
        assert f"{name}.png is not written (ValueError: no font)" in caplog.text


def test_evaluation_of_an_autoencoder_measures_every_heldout_asset(walked, capsys):
    place, done = walked
    run = f"run={done['autoencoder'].path}"
    run_evaluation(command(place, "evaluate", run, "reconstruction.resolution=32", "+domain.views=1"))
    report = json.loads((done["autoencoder"].path / "evaluation" / "heldout.json").read_text())
    assert report["assets"] == len(report["per_asset"]) == 3
    for name, value in report["mean"].items():
        assert value == pytest.approx(sum(asset[name] for asset in report["per_asset"]) / 3)
    assert 0 <= report["mean"]["iou"] <= 1
    one = report["intervals"]["iou"]
    assert one["low"] <= one["mean"] == report["mean"]["iou"] <= one["high"]
    page = (done["autoencoder"].path / "evaluation" / "heldout.html").read_text()
    assert MEASURES["iou"].text(one["mean"]) in page
    assert page.count("data:image/webp") == 1
    assert (done["autoencoder"].path / "evaluation" / "heldout.png").is_file()
    assert "iou" in capsys.readouterr().out


def test_evaluation_of_a_diffusion_model_judges_prompts(walked, tmp_path, clip_folder, monkeypatch):  # noqa: F811
    place, done = walked
    small = [f"prompts.{key}" for key in ("steps=2", "resolution=32", "seeds=[0]", "count=3")]
    folder = done["diffusion"].path / "evaluation"
    run_evaluation(command(place, "evaluate", f"run={done['diffusion'].path}", *small))
    report = json.loads((folder / "prompts.json").read_text())
    assert [entry["class"] for entry in report["prompts"]] == ["blue", "green", "red"]
    assert report["class"]["chance"] == pytest.approx(1 / 3)
    assert "name" not in report
    judged = report["by_guidance"]["3"]["intervals"]
    assert judged["class"]["mean"] == report["class"]["share"]
    assert judged["empty"]["mean"] == report["by_guidance"]["3"]["empty"]["count"] / 3
    page = (folder / "prompts.html").read_text()
    assert page.count("<section>") == 2  # all samples, and by prompt
    assert f"<td>{MEASURES['class'].text(judged['class']['mean'])}\n" in page
    (tmp_path / "names.txt").write_text("a red ball\n")
    seen = []
    monkeypatch.setattr(StoredViews, "compare", lambda self, outputs: seen.append(outputs) or {"view_kernel": 0.25})
    further = [f"prompts.file={tmp_path}/names.txt", f"prompts.encoder={clip_folder}", "prompts.views=1"]
    run_evaluation(command(place, "evaluate", f"run={done['diffusion'].path}", *small, *further))
    report = json.loads((folder / "prompts.json").read_text())
    assert report["by_guidance"]["3"]["intervals"]["retrieval"]["samples"] == 1
    assert report["by_guidance"]["3"]["against heldout"]["view_kernel"] == 0.25
    assert [len(outputs) for outputs in seen] == [1] * 6  # three guidances, two splits
    assert report["prompts"] == [{"prompt": "a red ball", "name": "red ball", "class": "red"}]
    assert report["name"]["samples"] == 1
    assert (folder / "prompts.png").is_file()


PROMPTS = "prompts=[red ball,blue ball]"


@pytest.fixture(scope="module")
def others(walked, tmp_path_factory):
    """A folder of GLBs: a red and a blue ball, as another program may write them."""
    folder = tmp_path_factory.mktemp("others")
    for color, rgb in (("red", [255, 0, 0, 255]), ("blue", [0, 0, 255, 255])):
        ball = trimesh.creation.icosphere(2)
        ball.visual = trimesh.visual.ColorVisuals(ball, face_colors=[rgb] * len(ball.faces))
        ball.export(folder / f"{color}_ball_0.glb")
    return folder


def test_a_run_is_compared_with_a_folder_of_another_program(walked, others, tmp_path):
    place, done = walked
    runs = f"runs={{ours: {done['diffusion'].path}, theirs: {others}}}"
    page = run_comparison(command(place, "compare", runs, PROMPTS, "seeds=[0]", f"output={tmp_path}", *SMALL))
    report = json.loads((tmp_path / "comparison.json").read_text())
    assert (report["prompts"], report["seeds"]) == (["red ball", "blue ball"], [0])
    theirs = report["contenders"]["theirs"]
    assert theirs["mean"]["empty"] == {"mean": 0, "low": 0, "high": 0, "samples": 2}
    assert theirs["mean"]["pieces"]["mean"] == 1
    assert [one["prompt"] for one in theirs["samples"]] == ["red ball", "blue ball"]
    assert "difference" not in report["contenders"]["ours"]
    assert set(theirs["difference"]) == set(report["measures"])
    assert report["heldout_nearest_distance"] > 0
    assert page.read_text().count("<article") == 4
    assert Image.open(tmp_path / "comparison.png").width > 2 * 128


def test_a_run_does_not_differ_from_itself(walked, tmp_path):
    place, done = walked
    runs = f"runs={{first: {done['diffusion'].path}, second: {done['diffusion'].path}}}"
    run_comparison(command(place, "compare", runs, "count=2", "seeds=[0,1]", f"output={tmp_path}", *SMALL))
    report = json.loads((tmp_path / "comparison.json").read_text())
    first, second = report["contenders"]["first"], report["contenders"]["second"]
    assert first["samples"] == second["samples"]
    measured = [one for one in second["difference"].values() if one["samples"]]
    assert measured
    assert all(one["mean"] == one["low"] == one["high"] == 0 for one in measured)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["runs=[{run}]"], r"must name two or more"),
        (["runs=[{run},{run}]"], "names one twice"),
        (["runs=[{run},/nowhere]"], "runs=/nowhere: there is no such run"),
        (["runs=[{others},{others}/.]"], "folders of files alone"),
        (["runs=[{run},{others}/empty]"], "empty is an empty folder: give a run"),
        (["runs=[{run},{others}]", "data_root=/nowhere"], "^data_root=/nowhere: .*point data_root to"),
        (["runs=[{run},{others}]", "prompts=/nowhere.txt"], "prompts=/nowhere.txt: there is no such file"),
        (["runs=[{run},{others}]", "seeds=[0,7]"], r"no file for 'red ball' and seed 7: name it red-ball_7\.glb"),
        (["runs=[{run},{others}]", "prompts=[a cloud]"], "reads classes alone, and 'a cloud' names none"),
        (["runs=[{run},{others}]", "prompts=[red ball,red-ball]"], "would have the same file name"),
        (["runs=[{run},{others}]", "prompts=[]"], "prompts= is empty"),
        (["runs=[{run},{others}]", "seeds=[]"], "seeds = \\[\\] must be a list"),
    ],
)
def test_mistakes_of_a_comparison_are_one_sentence(walked, others, tmp_path, overrides, sentence):
    place, done = walked
    (others / "empty").mkdir(exist_ok=True)
    words = [PROMPTS, "seeds=[0]", *(word.format(run=done["diffusion"].path, others=others) for word in overrides)]
    with pytest.raises(UserError, match=sentence) as mistake:
        run_comparison(command(place, "compare", *words, f"output={tmp_path}/page", *SMALL))
    assert "\n" not in str(mistake.value)
    assert not (tmp_path / "page").exists()


def test_the_page_of_the_app_makes_what_the_command_makes(walked, tmp_path, monkeypatch, capsys):
    pytest.importorskip("viser", reason="needs pip install '.[app]'")
    from tests.app.socket_visitor import SocketVisitor
    from tests.app.test_page_server import wait_for

    from fieldforge.app.app import App
    from fieldforge.app.maker import Maker

    estimates: list[torch.Size] = []
    decode = Maker.estimate

    def visit(app: App) -> None:
        socket = SocketVisitor(app.url, app.url)
        socket.enter()
        [visitor] = wait_for(lambda: list(app.visitors.values()))
        assert visitor.controls._class.options == ("(any)", "blue", "green", "red")
        visitor.ask()
        wait_for(lambda: visitor._latest is not None and not visitor.controls.make.disabled)
        socket.close()

    monkeypatch.setattr(App, "turn", visit)
    monkeypatch.setattr(Maker, "estimate", lambda maker, x0: (estimates.append(x0.shape), decode(maker, x0))[1])
    place, _ = walked
    asked = ["class=red", "seed=3", *SMALL]
    run_app(command(place, "app", "port=0", f"output={tmp_path / 'page'}", *asked))
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
    run_sampling(command(place, "sample", "n=1", f"output={tmp_path / 'typed'}", *asked))
    [page], [typed] = (
        json.loads((tmp_path / name / "samples.json").read_text())["samples"] for name in ("page/app-000", "typed")
    )
    assert page == {key: value for key, value in typed.items() if key != "ply"}
    for kind in ("thumbnail", "glb"):
        if page[kind]:
            same = [(tmp_path / name / page[kind]).read_bytes() for name in ("page/app-000", "typed")]
            assert same[0] == same[1]
    assert [len(shape) for shape in estimates] == [3, 3]  # (1, T, C), after each of three evaluations but the last


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["class=pink"], "class='pink' is not one of the"),
        (["class=[red,blue]"], "the page begins with one class"),
        (["prompt=a ball"], "this model was not trained with prompt"),
        (["guidance=30"], "guidance=30 is beyond the slider"),
        (["steps=300"], "steps=300 is more than max_steps=256"),
        (["mesh.size_cm=20"], "mesh.size_cm=20 has no effect on this page"),
        (["host=192.0.2.1"], r"host=192\.0\.2\.1 port=0 cannot be listened on"),
        (["host="], "host= is empty"),
    ],
)
def test_mistakes_of_the_app_are_one_sentence(walked, tmp_path, overrides, sentence):
    pytest.importorskip("viser", reason="needs pip install '.[app]'")
    words = [word.replace("guidance=", "guidance.scale=") for word in overrides]
    with pytest.raises(UserError, match=sentence) as mistake:
        run_app(command(walked[0], "app", "port=0", f"output={tmp_path}/page", *words))
    assert "\n" not in str(mistake.value)


def test_the_app_names_its_extra(walked, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"app\.py needs the package viser, .* pip install '\.\[app\]'"):
        run_app(command(walked[0], "app"))


def test_a_way_between_seeds_names_its_frames_and_nothing_asked_is_told(walked, tmp_path, caplog):
    caplog.set_level("INFO")
    words = ["to_seed=5", "frames=2", "n=1", f"output={tmp_path / 'out'}", *SMALL]
    run_sampling(command(walked[0], "sample", *words))
    assert "nothing is asked for: give class= to lead it" in caplog.text
    listed = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert listed[1]["thumbnail"] == "001_unconditional-to-seed-5-1-00_0.png"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["prompt=a red ball"], "was not trained with it: it understands class="),
        (["class=purple"], "purple"),
        (["prompts=/nowhere.txt"], "there is no such file"),
        (["prompt=x", "prompts=y"], "the text or the file"),
        (["prompt=''"], "prompt= is empty"),
        (["run=/nowhere"], "run=/nowhere: there is no such run, the newest finished ones are ."),
        (["guidance.scale=much", "class=red"], "guidance.scale = .much. is not a number"),
        (["output_dir=/nowhere"], "no finished diffusion"),
    ],
)
def test_sampling_mistakes_are_one_sentence(walked, overrides, sentence):
    with pytest.raises(UserError, match=sentence) as mistake:
        run_sampling(command(walked[0], "sample", *SMALL, *overrides))
    assert "\n" not in str(mistake.value)


def test_a_mistake_leaves_no_folder_in_the_run(walked):
    place, done = walked
    folder = done["autoencoder"].path / "evaluation"
    before = folder.exists()
    with pytest.raises(UserError, match=r"^data_root=/nowhere: .*point data_root to") as mistake:
        run_evaluation(command(place, "evaluate", f"run={done['autoencoder'].path}", "data_root=/nowhere"))
    assert "data.root" not in str(mistake.value)
    assert folder.exists() == before


def test_checkpoints_that_are_not_ours_are_refused(walked, tmp_path):
    place, done = walked
    with pytest.raises(UserError, match="not of stage diffusion"):
        run_sampling(command(place, "sample", f"run={done['autoencoder'].path}", *SMALL))
    truncated = tmp_path / "truncated.ckpt"
    truncated.write_bytes(done["diffusion"].model.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        run_sampling(command(place, "sample", f"run={truncated}", *SMALL))
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    with pytest.raises(UserError, match="not a checkpoint"):
        run_sampling(command(place, "sample", f"run={foreign}", *SMALL))


def test_stored_configuration_cannot_name_foreign_code(walked, tmp_path):
    place, done = walked
    content = torch.load(done["diffusion"].model, weights_only=True)
    content["fieldforge"]["config"]["backbone"] = {"_target_": "os.system", "command": f"touch {tmp_path}/harm"}
    hostile = tmp_path / "hostile.ckpt"
    torch.save(content, hostile)
    with pytest.raises(UserError, match="may not name it"):
        run_sampling(command(place, "sample", f"run={hostile}", "class=red", *SMALL))
    assert not (tmp_path / "harm").exists()


def test_pickled_code_in_a_checkpoint_does_not_run(tmp_path):
    from fieldforge.training.processes.checkpoints import load_safely

    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/harm",)

    torch.save({"fieldforge": Harm()}, tmp_path / "harmful.ckpt")
    with pytest.raises(UserError, match="damaged or not a plain one"):
        load_safely(tmp_path / "harmful.ckpt")
    assert not (tmp_path / "harm").exists()
