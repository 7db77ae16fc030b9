"""What a user sees: one sentence, an exit code, no traceback; a bug keeps its traceback."""

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tests.runs.conftest import ROOT, SEARCH, Place
from tests.runs.tiny import write_balls

from fieldforge.errors import UserError
from fieldforge.runs import command_line as typed
from fieldforge.runs import entry
from fieldforge.runs.train import run_training
from fieldforge.stages import training_run
from fieldforge.terminal import status
from fieldforge.training.processes import interruption


def leave_with(monkeypatch, capsys, body, *arguments: str, name: str = "train") -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as left:
        entry.run(body, name)
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no experiment is chosen: give experiment= one of clip_autoencoder, clip_latent"),
        (["experiment=nothing"], "there is no experiment=nothing: choose one of"),
        (["experiment=shape_latent", "nokey=1"], "unknown config key nokey"),
        (
            ["experiment=shape_latent", "training.autoencoder.budget.max_step=3"],
            "unknown config key training.autoencoder.budget.max_step: "
            "did you mean training.autoencoder.budget.max_steps?",
        ),
        (
            ["experiment=shape_latent", "training.diffusion.lr=1e-3"],
            "unknown config key training.diffusion.lr: did you mean training.diffusion.optimizer.lr?",
        ),
        (["experiment=shape_latent", "samplr=unipc"], "unknown config key samplr: did you mean sampler?"),
        (["experiment=shape_latent", "trainer=abacus"], "there is no trainer=abacus: choose one of auto"),
        (["experiment=shape_latent", "seed=[1"], "cannot read the override 'seed=[1': write key=value"),
        (
            ["experiment=shape_latent", "data.root=my", "best", "shards", "seed=1"],
            "cannot read the override 'best': the shell takes a text apart at its spaces, so write it in quotes, "
            'data.root="my best shards"',
        ),
        (["experiment=shape_latent", "seed=1", "2"], "cannot read the override '2': write key=value"),
    ],
)
def test_config_mistakes_are_one_sentence(monkeypatch, capsys, arguments, sentence):
    code, stderr = leave_with(monkeypatch, capsys, lambda config: None, *arguments)
    assert code == entry.EXIT_USER_ERROR
    assert sentence in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert "Traceback" not in stderr


def test_user_errors_are_one_sentence(monkeypatch, capsys):
    def body(config):
        raise UserError("the thing is wrong: mend it")

    code, stderr = leave_with(monkeypatch, capsys, body, "experiment=shape_latent")
    assert (code, stderr) == (2, "error: the thing is wrong: mend it\n")


def test_several_numbers_need_no_brackets():
    assert typed.rewritten(["proportions=1,2,0.5", "symmetry=[1,0,0]", "sharpness=0.2"], {}) == [
        "proportions=[1,2,0.5]", "symmetry=[1,0,0]", "sharpness=0.2"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError("Unable to allocate 3.73 TiB for an array"),
    ],
)
def test_memory_that_is_not_enough_is_one_sentence(monkeypatch, capsys, error):
    def body(config):
        raise error

    code, stderr = leave_with(monkeypatch, capsys, body, "experiment=shape_latent")
    assert code == 2
    [line] = stderr.strip().splitlines()
    assert "allocate" in line
    assert "lower n=" in line


def test_a_step_that_does_not_fit_says_which_and_what_to_lower(place, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(training_run, "fit", full)
    with pytest.raises(
        UserError, match=r"autoencoder: a step of training.autoencoder.batch_size=2 .*2.00 GiB.*trainer.accumulate"
    ):
        run_training(place.compose())


def test_stops_leave_with_their_codes(monkeypatch, capsys):
    import signal

    def ctrl_c(config):
        raise KeyboardInterrupt

    def preempted(config):
        raise interruption.Interrupted(signal.SIGUSR1)

    code, output = leave_with(monkeypatch, capsys, ctrl_c, "experiment=shape_latent")
    assert (code, output.strip().splitlines()[-1]) == (
        130,
        "stopped by Ctrl-C",
    )  # there is no state
    assert leave_with(monkeypatch, capsys, preempted, "experiment=shape_latent")[0] == 85


def test_no_way_out_obeys_the_names_of_strangers(monkeypatch, capsys):
    """An error, a log line, a warning of a library, and progress."""

    def body(config):
        name = "[red]chair[/red] \x1b[2J"
        logging.getLogger("fieldforge").warning("logged %s", name)
        warnings.warn(f"warned {name}", stacklevel=1)
        status(f"shown {name}")
        status("")
        raise UserError(f"failed {name}")

    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show_as_python_does)
        code, output = leave_with(monkeypatch, capsys, body, "experiment=shape_latent")
    assert code == 2
    for word in ("logged", "warned", "shown", "failed"):
        assert f"{word} [red]chair[/red] \\x1b[2J" in output
    assert "\x1b" not in output


def show_as_python_does(message, category, filename, lineno, file=None, line=None):
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def test_bugs_keep_their_traceback(monkeypatch):
    def body(config):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(sys, "argv", ["train.py", "experiment=shape_latent"])
    with pytest.raises(ZeroDivisionError):
        entry.run(body, "train")


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("guidance=classifier", "guidance=classifier"),
        ("guidance=3", "guidance.scale=3"),
        ("guidance=.5", "guidance.scale=.5"),
        ("guidance.scale=3", "guidance.scale=3"),
        ("prompt=guidance=x", "prompt=guidance=x"),
    ],
)
def test_one_key_may_stand_for_a_number_and_for_a_word(argument, meant):
    assert typed.spelled_out(argument, {"guidance": ("guidance", "guidance.scale")}) == meant


def test_a_plan_is_asked_for_by_one_word():
    """As it is typed: train.py alone knows what plan= stands for."""
    small = [f"autoencoder.{part}.layers=1" for part in ("encoder", "decoder")]
    command = [sys.executable, str(ROOT / "train.py"), "experiment=shape_autoencoder", *small]
    done = subprocess.run([*command, "plan=json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "autoencoder" in json.loads(done.stdout)["stages"]
    composed = subprocess.run([*command, "plan=true", "--cfg", "job"], capture_output=True, text=True)
    assert OmegaConf.create(composed.stdout).plan.show is True, composed.stderr


LITERAL = [
    *('a red "big" chair, (old)', "it's [a] table", "back\\", 'end"', "", "a=b", "ünïcode {x}", '"a" or "b"'),
    *("'a' or 'b'", " spaces ", "$HOME", "#1", "a\\b\\", "[a", "x: y", "a,b", "(", "true", "3", "~x", "%20"),
    *('"', "a${b", "a\nb", "möbel"),
]


@pytest.mark.parametrize("key", ["prompt", "source.path", "output", "class", "+data.root", "name"])
@pytest.mark.parametrize("text", LITERAL)
def test_texts_and_paths_reach_the_config_as_they_are(key, text):
    [argument] = typed.rewritten([f"{key}={text}"], {})
    assert typed.rewritten([argument], {}) == [argument]  # as for the processes that a training starts
    value = OverridesParser.create().parse_override(argument).value()
    assert OmegaConf.create({"value": value}).value == text


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("class=[seating,lighting]", ["seating", "lighting"]),
        ("image=[a.png,'b c.png']", ["a.png", "b c.png"]),
        ("output=null", None),
        ("prompt=null", "null"),
        ("prompt='a chair'", "a chair"),
        ("prompt=${seed}", "${seed}"),
        ("source.path=${seed}/x", "7/x"),
        ("trainer.devices=2", 2),
    ],
)
def test_what_keeps_the_meaning_that_it_has_for_hydra(argument, value):
    [argument] = typed.rewritten([argument], {})
    parsed = OverridesParser.create().parse_override(argument).value()
    assert OmegaConf.create({"value": parsed, "seed": 7}).value == value


def test_in_a_sweep_commas_list_values():
    assert typed.rewritten(["data.root=a,b", "output_dir=x y", "-m"], {}) == [
        "--multirun",
        "data.root=a,b",
        'output_dir="x y"',
    ]


def test_in_a_sweep_a_path_below_a_folder_with_a_comma_is_one(tmp_path):
    (tmp_path / "a,b it's").mkdir()
    place = f"output_dir={tmp_path}/a,b it's/lr=1/swept"
    assert typed.rewritten([place, "-m"], {}) == ["--multirun", place.replace("=", '="', 1) + '"']


def test_help_is_worth_reading(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    with pytest.raises(SystemExit) as left:
        entry.run(lambda config: None, "train", example="experiment=shape_latent")
    output = capsys.readouterr().out
    assert left.value.code == 0
    for word in ("experiment=shape_latent", "autoencoder: ", "max_minutes", "Ctrl-C"):
        assert word in output


@pytest.mark.parametrize(
    "command", ["train.py", "sample.py", "prepare.py", "evaluate.py", "export.py", "compare.py", "app.py"]
)
def test_help_that_nobody_reads_ends_without_a_traceback(command):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as unread:
        left = subprocess.run(
            [sys.executable, "-u", command, "--help"], cwd=ROOT, stdout=unread, stderr=subprocess.PIPE, text=True
        )
    assert (left.returncode, left.stderr) == (141, "")


@pytest.mark.parametrize("command", ["sample.py", "prepare.py", "evaluate.py"])
def test_several_processes_of_what_is_one_are_refused_once(command):
    output = []
    for rank in range(2):
        several = {**os.environ, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
        left = subprocess.run([sys.executable, command], cwd=ROOT, capture_output=True, text=True, env=several)
        assert left.returncode == 2
        output += left.stderr.splitlines()
    [sentence] = output
    assert sentence.startswith("error: torchrun has started this command as 2 processes (WORLD_SIZE=2)")


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job", "steps=3"], ["steps=3", "--cfg", "job"]])
def test_sampling_says_its_settings_and_what_they_mean(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["sample.py", *arguments])
    with pytest.raises(SystemExit) as left:
        entry.run(lambda config: None, "commands/sample", choices=True)
    output = capsys.readouterr().out
    assert left.value.code == 0
    if arguments == ["--help"]:
        assert "n: 4                    # samples for each of them" in output
        assert "sampler: ddim, ddpm, " in output
        assert "${" not in output
    else:
        assert "steps: 3" in output


@pytest.mark.parametrize("workers", [0, 1])
def test_cut_shard_is_one_sentence_even_from_a_worker_process(monkeypatch, capsys, tmp_path, workers):
    folder = write_balls(tmp_path / "balls", train=3)
    shard = folder / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-2048])

    def body(config):
        from fieldforge.runs.train import run_training

        run_training(config)

    places = [f"data.root={folder}", f"output_dir={tmp_path}", f"data.num_workers={workers}"]
    code, stderr = leave_with(monkeypatch, capsys, body, SEARCH, "experiment=tiny", *places)
    assert code == 2
    [sentence] = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert "train-000000.tar" in sentence
    assert "the manifest says" in sentence
    assert "Traceback" not in stderr


def test_the_first_line_needs_no_heavy_module(tmp_path: Path):
    """What somebody at a terminal waits for; and the process leaves without taking modules apart."""
    script = tmp_path / "command.py"
    script.write_text(
        "import atexit, sys\nfrom fieldforge.runs.entry import run\n"
        "def heavy(): return sorted({'torch', 'transformers', 'wandb', 'open3d', 'numpy'} & set(sys.modules))\n"
        "atexit.register(print, 'registered for the exit')\n"
        "run(lambda config: print('body'), 'train', about=lambda config: f'training {config.name} {heavy()}')\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "experiment=shape_latent"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "training shape_latent []"
    assert done.stdout.splitlines() == ["body", "registered for the exit"]


@pytest.mark.parametrize("word", ["--experiment", "--experiment=shape_latent", "--exp"])
def test_a_key_with_dashes_is_a_sentence(word: str):
    """Hydra would take it for its own `--experimental-rerun`, and look for a file."""
    with pytest.raises(UserError, match="keys have no dashes here, write experiment="):
        typed.check_dashes([word, "shape_latent"])
    typed.check_dashes(["experiment=shape_latent", "--help", "--cfg", "--experimental-rerun"])


@pytest.mark.parametrize("name", ["a_file", "a_file/below"])
def test_an_output_that_cannot_be_is_refused_by_its_key(place: Place, tmp_path: Path, name: str):
    (tmp_path / "a_file").touch()
    with pytest.raises(UserError, match=f"output_dir={tmp_path / name} cannot be made a folder to write to"):
        run_training(place.compose(f"output_dir={tmp_path / name}"))


@pytest.mark.parametrize(
    ("command", "arguments", "start"),
    [
        ("train", ["experiment=shape_latent", "+foo=1"], "+foo= adds a key that nothing reads: leave it out"),
        ("train", ["experiment=shape_latent", "++samplr=1"], "+samplr= adds a key that nothing reads: did you mean sa"),
        ("train", ["experiment=shape_latent", "+training.diffusion.foo=1"], "+training.diffusion.foo= adds a key that"),
        ("prepare", ["source=furniture", "+foo=1"], "+foo= adds a key that nothing reads"),
        ("commands/sample", ["+promt=a"], "+promt= adds a key that nothing reads: did you mean prompt"),
        ("commands/evaluate", ["+foo=1"], "+foo= adds a key that nothing reads"),
        ("commands/sample", ["--config-dir=/nowhere"], "--config-dir=/nowhere is no folder: correct the path"),
        ("train", ["--config-path=/nowhere"], "--config-path=/nowhere is no folder: leave it out"),
        ("train", ["--config-name=nowhere"], "there is no config nowhere: leave --config-name out"),
    ],
)
def test_what_was_typed_for_hydra_is_checked_too(monkeypatch, capsys, command, arguments, start):
    code, stderr = leave_with(monkeypatch, capsys, lambda config: None, *arguments, name=command)
    assert code == 2
    [sentence] = stderr.splitlines()
    assert sentence.startswith(f"error: {start}")


@pytest.mark.parametrize(
    "addition",
    ["+callbacks.mine._target_=a.B", "+domain.foo=4", "+prior.source=x", "+embedded=views", "+phases.a.of=prior"],
)
def test_additions_that_are_meant_are_taken(monkeypatch, capsys, addition):
    assert leave_with(monkeypatch, capsys, lambda config: None, "experiment=shape_latent", addition) == (0, "")


def test_additions_are_checked_against_configs_of_other_places_too(monkeypatch, capsys, tmp_path):
    assert leave_with(monkeypatch, capsys, lambda config: None, SEARCH, "experiment=tiny", "+callbacks.a.b=1")[0] == 0
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\nmy_block: {width: 3}\n")
    mine = ["--config-dir", str(tmp_path), "experiment=mine"]
    assert leave_with(monkeypatch, capsys, lambda config: None, *mine, "+callbacks.a.b=1")[0] == 0
    code, output = leave_with(monkeypatch, capsys, lambda config: None, *mine, "+my_block.height=1")
    assert (code, output) == (2, "error: +my_block.height= adds a key that nothing reads: leave it out\n")
