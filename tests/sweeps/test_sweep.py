"""Sweeps as users start them, over pretended trainings: table, resume, failures, sentences, exit codes."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.data.test_lock import end, holder
from tests.sweeps.conftest import Bench, judged

from fieldforge.errors import UserError
from fieldforge.runs.command_line import multirun_first
from fieldforge.training.processes import interruption

GRID = ["-m", "training.autoencoder.optimizer.lr=0.1,0.01,0.001"]


def test_plain_multirun_has_a_table_and_is_not_repeated(bench: Bench):
    code, output = bench.sweep(*GRID, "trainer.devices=1")
    assert code == 0
    assert [row[2] for row in bench.rows()] == ["0", "1", "1"]
    assert bench.rows()[0][3] == "0.01"
    assert "3 trials: 3 finished" in output
    assert (bench.study / "parallel_coordinates.png").is_file()
    assert "| 1    | 1     | 0            | 0.01  |" in output
    bench.sweep(*GRID, "trainer.devices=2", "search.parallel=2")  # what changes no result continues the same sweep
    assert len(bench.trained) == 3
    assert len(list((bench.outputs / "sweeps").iterdir())) == 1
    bench.sweep(*GRID, "seed=7")
    assert len(bench.trained) == 6


def test_one_trial_is_a_sweep_too(bench: Bench):
    code, output = bench.sweep("-m")
    assert (code, len(bench.rows())) == (0, 1)
    assert "1 trial: 1 finished" in output


def test_search_needs_no_flag_finds_the_minimum_and_goes_on(bench: Bench):
    code, output = bench.sweep("search=tiny", "search.trials=8", act=judged)
    assert code == 0
    assert 4 <= len(bench.trained) <= 8
    assert "pruned" in output
    best = float(bench.rows()[0][2])
    assert best == min(float(row[2]) for row in bench.rows() if row[6] == "finished")
    before = len(bench.trained)
    bench.sweep("search=tiny", "search.trials=8")
    assert len(bench.trained) == before
    code, _ = bench.sweep("search=tiny", "search.trials=10")
    assert len(bench.rows()) == 10
    assert len(bench.trained) <= before + 2


def test_sweeps_of_the_command_line_join_the_search(bench: Bench):
    bench.sweep("search=tiny", "search.trials=3", "seed=1,2,3", "search/sampler=random", "search/pruner=none")
    assert {row[6] for row in bench.rows()} <= {"1", "2", "3"}


def test_a_failed_job_does_not_end_the_sweep(bench: Bench):
    def act(config, loss, times):
        if times == 1:
            raise UserError("training gave no finite gradient: lower the rate")
        if times == 2:
            raise ZeroDivisionError("by zero")

    code, output = bench.sweep(*GRID, act=act)
    assert code == 0
    assert [row[4] for row in bench.rows()] == ["finished", "failed", "failed"]
    assert bench.rows()[1][-1] == "training gave no finite gradient: lower the rate"
    assert "ZeroDivisionError: by zero" in bench.rows()[2][-1]
    assert "Traceback" in (bench.study / "trials" / "0001.txt").read_text()
    assert "Traceback" not in output
    bench.sweep(*GRID)
    assert len(bench.trained) == 5  # the failed ones again, and only these
    assert [row[4] for row in bench.rows()] == ["finished"] * 3


def test_exit_code_where_all_fail(bench: Bench):
    def act(config, loss, times):
        raise UserError(f"there is nothing at {loss}")

    code, output = bench.sweep(*GRID, act=act)
    assert code == 2
    assert output.strip().splitlines()[-1] == "error: all 3 trials failed, the first one with: there is nothing at 1.0"


def test_what_fails_alike_every_time_ends_early(bench: Bench):
    def act(config, loss, times):
        raise UserError("there is no data: prepare it")

    code, output = bench.sweep("-m", "training.autoencoder.optimizer.lr=0.1,0.2,0.3,0.4,0.5", act=act)
    assert (code, len(bench.trained)) == (2, 3)
    assert "the first 3 trials failed alike: there is no data: prepare it" in output


def test_a_value_that_is_no_number_fails(bench: Bench):
    def act(config, loss, times):
        config.training.autoencoder.optimizer.lr = float("nan")

    code, output = bench.sweep("-m", "seed=1,2", act=lambda config, loss, times: None)
    assert code == 0
    import tests.sweeps.conftest as conftest

    bench.monkeypatch.setattr(conftest, "best_at_hundredth", lambda config: float("nan"))
    code, output = bench.sweep("-m", "seed=3,4")
    assert code == 2
    assert "heldout/loss is nan at the end" in output


def test_a_signal_stops_the_sweep_and_the_same_command_goes_on(bench: Bench):
    def act(config, loss, times):
        if times == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
            raise interruption.Interrupted(interruption.noted())

    code, output = bench.sweep("search=tiny", act=act)
    assert code == interruption.EXIT_UNFINISHED
    assert "the same command goes on" in output
    assert [row[0] for row in bench.rows()] == ["1"]
    interruption.forget()
    code, _ = bench.sweep("search=tiny")
    assert code == 0
    assert bench.trained[2] == bench.trained[1]  # the interrupted one, with its own settings and record
    assert len(bench.rows()) == 4


def test_what_finished_while_nobody_looked_is_not_trained_again(bench: Bench):
    def act(config, loss, times):
        if times == 2:
            raise KeyboardInterrupt

    assert bench.sweep("search=tiny", act=act)[0] == interruption.EXIT_CTRL_C
    trial = bench.study / "trials" / "0001.json"
    trial.write_text(json.dumps({"state": "finished", "value": 7.5, "step": 10}))
    bench.sweep("search=tiny")
    assert [entry["trial"] for entry in bench.trained].count(str(trial)) == 1
    assert "7.5" in [row[2] for row in bench.rows()]


def test_one_sweep_is_run_by_one_process(bench: Bench):
    bench.sweep(*GRID)
    process, _ = holder(bench.study)
    code, output = bench.sweep(*GRID)
    end(process)
    assert code == 2
    assert f"another command writes {bench.study} (process {process.pid} on " in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search=nothing"], "there is no search=nothing: choose one of autoencoder"),
        (["search=tiny", "search.trails=3"], "unknown config key search.trails"),
        (["search=tiny", "+search.trails=3"], "unknown config key search.trails: there are objective"),
        (["search=base"], "the config key search.space has no value"),
        (["search=tiny", "search.direction=down"], "search.direction = 'down' must be"),
        (["search=tiny", "search/sampler=grid"], "search/sampler=grid cannot count training.autoencoder.optimizer.lr"),
        (["search=tiny", "+search.space.nokey=[1,2]"], "unknown config key nokey"),
        (
            ["search=tiny", "search.objective=heldout/los"],
            "heldout/los is not logged: choose one of heldout/loss, train",
        ),
        (["-m", "seed=interval(1,2)"], "seed has an interval: list its values"),
        (["-m", "nokey=1,2"], "unknown config key nokey"),
        (["-m", "seed=1,2", "launcher=rocket"], "there is no launcher=rocket: choose one of basic"),
        (["-m", "seed=1,2", "hydra/launcher=rocket"], "launcher=rocket is not installed: pip install"),
    ],
)
def test_mistakes_are_one_sentence(bench: Bench, arguments, sentence):
    code, printed = bench.sweep(*arguments)
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert sentence in errors[-1]
    assert "Traceback" not in printed


def test_optuna_is_an_extra(bench: Bench):
    bench.monkeypatch.setitem(sys.modules, "optuna", None)
    code, output = bench.sweep("search=tiny")
    assert code == 2
    assert output.strip().splitlines()[-1].startswith("error: search= needs Optuna: pip install '.[sweep]'")


def test_where_the_flag_stands():
    assert multirun_first(["a=1", "-m", "b=1,2"]) == ["--multirun", "a=1", "b=1,2"]
    assert multirun_first(["a=1", "search=x"]) == ["--multirun", "a=1", "search=x"]
    for alone in (["a=1"], ["search=none"], ["search=x", "search.trial=/y"], ["search=x", "--cfg", "job"]):
        assert multirun_first(alone) == alone


def test_a_place_that_jobs_cannot_use_is_named(bench: Bench, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    code, output = bench.sweep("-m", "seed=0,1", "hydra.sweep.dir=a_file")
    assert code == 2
    assert "the jobs of this sweep cannot use a_file (File exists): correct the hydra.sweep.*" in output
