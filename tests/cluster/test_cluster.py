"""Trainings that a scheduler disturbs end with the weights of an undisturbed one, bit for bit.

All are started by the batch script of the documentation, on a real Slurm of two nodes (and by torchrun, in one case).
Every job trains an autoencoder, encodes latents and trains a diffusion model; each is met in the middle of a step.
They run at the same time, in threads of this process; the tests wait for their results.
"""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from tests.cluster.slurm import ENDED, Slurm
from tests.cluster.training import CANCEL, ENVIRONMENT, ROOT, Training, differences, processes_with, wait

SCRIPT = ROOT / "docs/slurm/train.sbatch"
TWO_NODES = ("--nodes=2", "trainer=ddp")
KEY_BIASES = ("to_qkv.bias", "to_kv.bias")
SWEEP = ["seed=0", "training.diffusion.optimizer.lr=1e-3 seed=1"]


def submit(slurm: Slurm, training: Training, *arguments: str, hold: dict[str, int] | None = None, **environment) -> str:
    """sbatch of the documented script; options of sbatch begin with --, the others are overrides. The job's number."""
    training.folder.mkdir(parents=True, exist_ok=True)
    options = [argument for argument in arguments if argument.startswith("--")]
    overrides = [argument for argument in arguments if not argument.startswith("--")]
    return slurm.submit(
        f"--output={training.log}",
        f"--chdir={ROOT}",
        *options,
        str(SCRIPT),
        *training.overrides(*overrides, hold=hold),
        **{**ENVIRONMENT, **environment},
    )


def over(slurm: Slurm, job: str) -> Callable[[], bool]:
    """Whether a job has ended, and does not come back."""
    return lambda: slurm.job(job)["JobState"] in ENDED


def finished(slurm: Slurm, job: str, training: Training) -> dict[str, str]:
    """Waits for the end of a job; what Slurm knows of it."""
    wait(over(slurm, job), f"the end of job {job}", training.output)
    return slurm.job(job)


def assert_finished(known: dict[str, str], training: Training, restarts: int) -> None:
    outcome = known["JobState"], known["ExitCode"], known["Restarts"]
    assert outcome == ("COMPLETED", "0:0", str(restarts)), training.output()


def undisturbed(slurm: Slurm, training: Training) -> None:
    """Two processes on two nodes."""
    job = submit(slurm, training, *TWO_NODES)
    assert_finished(finished(slurm, job, training), training, restarts=0)


def user_signal(slurm: Slurm, training: Training) -> None:
    """USR1 in both stages: each time the job saves, requeues itself and goes on."""
    job = submit(slurm, training, *TWO_NODES, hold={"autoencoder": 5, "diffusion": 7})
    for stage in ("autoencoder", "diffusion"):
        training.wait_held(stage, over(slurm, job))
        slurm.run("scancel", "--signal=USR1", job)
    assert_finished(finished(slurm, job, training), training, restarts=2)
    assert "autoencoder: goes on at step 6" in training.output()  # not the last checkpoint of the schedule, step 4
    assert "diffusion: goes on at step 8" in training.output()


def preemption(slurm: Slurm, training: Training) -> None:
    """A job of a partition of higher priority takes the place; the training comes back after it."""
    job = submit(slurm, training, *TWO_NODES, "--partition=scavenge", "--gres=seat:1", hold={"diffusion": 5})
    training.wait_held("diffusion", over(slurm, job))
    other = slurm.submit(
        "--partition=urgent", "--nodes=2", "--gres=seat:1", f"--output={training.folder}/urgent.txt", "--wrap=true"
    )
    assert finished(slurm, other, training)["JobState"] == "COMPLETED"
    assert_finished(finished(slurm, job, training), training, restarts=1)
    assert "diffusion: goes on at step 6" in training.output()


def time_limit(slurm: Slurm, training: Training) -> None:
    """Slurm's limit comes near: it signals, the training saves and requeues itself."""
    job = submit(slurm, training, *TWO_NODES, "--signal=USR1@45", hold={"autoencoder": 7})
    training.wait_held("autoencoder", over(slurm, job))
    begun = datetime.fromisoformat(slurm.job(job)["StartTime"])
    minutes = math.ceil((datetime.now() - begun).total_seconds() / 60) + 1  # Slurm looks at limits every 30 s
    slurm.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
    wait(lambda: slurm.job(job)["Restarts"] == "1", "the time limit", training.output)
    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    assert_finished(finished(slurm, job, training), training, restarts=1)
    assert "SIGUSR1" in training.output()
    assert "autoencoder: goes on at step 8" in training.output()


def killed_on_one_node(slurm: Slurm, training: Training) -> None:
    """The process on the second node dies; the first does not wait for it, and both go on from the last checkpoint."""
    job = submit(slurm, training, *TWO_NODES, hold={"autoencoder": 5})
    training.wait_held("autoencoder", over(slurm, job))
    (process,) = processes_with(SLURM_JOB_ID=job, SLURM_PROCID="1")
    os.kill(process, signal.SIGKILL)
    assert_finished(finished(slurm, job, training), training, restarts=1)
    assert "autoencoder: goes on at step 4" in training.output()


def cancelled_step(slurm: Slurm, training: Training) -> None:
    """scancel of the step kills its processes on both nodes; the job goes on from the last checkpoint."""
    job = submit(slurm, training, *TWO_NODES, hold={"diffusion": 5})
    training.wait_held("diffusion", over(slurm, job))
    slurm.run("scancel", f"{job}.0")
    assert_finished(finished(slurm, job, training), training, restarts=1)
    assert "diffusion: goes on at step 4" in training.output()


def cancelled_job(slurm: Slurm, training: Training) -> None:
    """scancel of the whole job is the user's word: the training saves, and does not come back."""
    job = submit(slurm, training, *TWO_NODES, hold={"autoencoder": 3})
    training.wait_held("autoencoder", over(slurm, job))
    slurm.run("scancel", job)
    known = finished(slurm, job, training)
    assert (known["JobState"], known["Restarts"]) == ("CANCELLED", "0"), training.output()
    assert list(training.folder.glob("tiny/*/checkpoints/step_000000004.ckpt"))


def sweep(slurm: Slurm, training: Training) -> None:
    """A job array, one process a task; the second task meets a signal."""
    training.folder.mkdir(parents=True)
    lines = training.folder / "sweep.txt"
    tasks = [Training(training.folder / str(number), training.data) for number in (1, 2)]
    for task in tasks:
        task.folder.mkdir()
    # What differs between tasks of a test: the place of each, and that the second is held.
    held = [word for word in tasks[1].overrides(hold={"diffusion": 3}) if word.startswith("+callbacks.hold")]
    further = [[], held]
    lines.write_text(
        "".join(
            " ".join([line, f"output_dir={task.folder}", *words]) + "\n"
            for line, task, words in zip(SWEEP, tasks, further, strict=True)
        )
    )
    job = submit(slurm, training, "trainer=cpu", "--array=1-2", SWEEP=str(lines))
    tasks[1].wait_held("diffusion", over(slurm, f"{job}_2"))
    slurm.run("scancel", "--signal=USR1", f"{job}_2")
    for number, restarts in ((1, 0), (2, 1)):
        assert_finished(finished(slurm, f"{job}_{number}", training), training, restarts)


def alone(slurm: Slurm, training: Training) -> None:
    """The two trainings of the sweep without Slurm."""
    for number, line in enumerate(SWEEP, 1):
        task = Training(training.folder / str(number), training.data)
        task.folder.mkdir(parents=True)
        code = start(task, [sys.executable, "train.py", *task.overrides(*line.split(), "trainer=cpu")])
        assert code == 0, task.output()


def torchrun(slurm: Slurm, training: Training) -> None:
    """TERM ends torchrun with all processes saved. Begun again, it starts both anew after one has been killed."""
    training.folder.mkdir(parents=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    overrides = training.overrides("trainer=ddp", "trainer.devices=2", hold={"autoencoder": 5, "diffusion": 5})
    mark = {"FIELDFORGE_TEST": str(training.folder)}

    def terminate(launcher: subprocess.Popen) -> None:
        training.wait_held("autoencoder", lambda: launcher.poll() is not None)
        launcher.terminate()

    def kill_one(launcher: subprocess.Popen) -> None:
        training.wait_held("diffusion", lambda: launcher.poll() is not None)
        (process,) = processes_with(RANK="1", **mark)
        os.kill(process, signal.SIGKILL)

    assert start(training, [*command, "train.py", *overrides], terminate, **mark) != 0
    assert start(training, [*command, "train.py", *overrides], kill_one, **mark) == 0, training.output()
    assert "autoencoder: goes on at step 6" in training.output()
    assert "diffusion: goes on at step 4" in training.output()


def start(
    training: Training,
    command: list[str],
    meanwhile: Callable[[subprocess.Popen], None] | None = None,
    **environment: str,
) -> int:
    """Runs a command without Slurm to its end; its exit code."""
    with training.log.open("a") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **ENVIRONMENT, **environment}, stdout=log, stderr=log
        )
    try:
        if meanwhile is not None:
            meanwhile(process)
        wait(lambda: process.poll() is not None, "the end of the training", training.output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode


Results = dict[Callable, tuple[Training, Future]]
DISTURBED = (time_limit, user_signal, preemption, killed_on_one_node, cancelled_step, torchrun)


@pytest.fixture(scope="module")
def results(cluster: Slurm, balls: Path, tmp_path_factory, request) -> Iterator[Results]:
    """Everything that the chosen tests name among their parameters, begun at once."""
    chosen = [item.callspec.params for item in request.session.items if item.module is request.module]
    named = [value for parameters in chosen for value in parameters.values() if callable(value)]
    pool = ThreadPoolExecutor(max_workers=16)
    begun: Results = {}
    for scenario in dict.fromkeys(named):
        training = Training(tmp_path_factory.mktemp(scenario.__name__) / "run", balls)
        begun[scenario] = training, pool.submit(scenario, cluster, training)
    yield begun
    CANCEL.set()
    pool.shutdown(cancel_futures=True)


def ended(results: Results, scenario: Callable, task: str = "") -> Training:
    """The training of a scenario, or of a task of it, when it has done all that it should."""
    training, future = results[scenario]
    future.result()
    return Training(training.folder / task, training.data)


def scenarios(names: str, *sets: Callable | tuple) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(names, sets, ids=lambda value: getattr(value, "__name__", str(value)))


@scenarios("disturbed, reference", *[(scenario, undisturbed) for scenario in DISTURBED])
def test_disturbed_training_equals_undisturbed(results: Results, disturbed: Callable, reference: Callable) -> None:
    assert not differences(ended(results, disturbed), ended(results, reference))


@scenarios("disturbed, reference, task", (sweep, alone, "1"), (sweep, alone, "2"))
def test_each_task_of_a_sweep_equals_its_run_alone(
    results: Results, disturbed: Callable, reference: Callable, task: str
) -> None:
    assert not differences(ended(results, disturbed, task), ended(results, reference, task))


@scenarios("reference", alone)
def test_the_tasks_of_a_sweep_differ(results: Results, reference: Callable) -> None:
    assert differences(ended(results, reference, "1"), ended(results, reference, "2"))


@scenarios("one, two", (alone, undisturbed))
def test_two_nodes_train_what_one_process_trains(results: Results, one: Callable, two: Callable) -> None:
    """To rounding: the halves of a batch are summed in another order.

    Biases of attention's keys are left out: softmax does not see them, so that their gradient is rounding and nothing
    else, of which Adam makes steps as long as of any other.
    """
    apart = differences(ended(results, one, "1"), ended(results, two))
    assert all(difference < 1e-4 for name, difference in apart.items() if not name.endswith(KEY_BIASES)), apart


@scenarios("disturbed", cancelled_job)
def test_a_cancelled_job_stays_cancelled(results: Results, disturbed: Callable) -> None:
    assert not ended(results, disturbed).weights()
