"""What the environment says of other processes: taken where it is whole, refused where it cannot be."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only as ranks_of_fabric
from pytorch_lightning.utilities.rank_zero import rank_zero_only as ranks_of_lightning

from fieldforge.errors import UserError
from fieldforge.training.processes import gpus, interruption, launch, launchers
from fieldforge.training.processes.hardware import Hardware

TORCH = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}
SLURM = {"SLURM_JOB_ID": "17", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
STEP = SLURM | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "ENVIRONMENT": "BATCH"}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
JSRUN = {"JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "3", "JSM_NAMESPACE_LOCAL_RANK": "1"}
MPICH = {"PMI_SIZE": "4", "PMI_RANK": "3", "MPI_LOCALRANKID": "1"}
PREFIXES = ("SLURM_", "OMPI_", "JSM_", "PMI_", "MV2_", "MASTER_")


@pytest.fixture
def environment(monkeypatch):
    """Sets variables, in an environment without any of a launcher's."""
    for name in os.environ:
        if name.startswith(PREFIXES) or name in (*TORCH, "NODE_RANK", "GROUP_RANK", "ENVIRONMENT"):
            monkeypatch.delenv(name)

    def put(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture
def connections(monkeypatch) -> list[dict[str, str]]:
    """Environments in which processes would look for each other; nobody is started."""
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(launch.ranks, "connect", lambda *arguments: seen.append(dict(os.environ)))
    monkeypatch.setattr(
        launch.subprocess, "Popen", lambda command, env: SimpleNamespace(poll=lambda: 0, wait=lambda _: 0)
    )
    return seen


def enter(devices: int, num_nodes: int = 1, gpu: bool = False) -> None:
    with launch.processes(devices, num_nodes, gpu, lambda: [sys.executable, "-c", "pass"]):
        pass


@pytest.mark.parametrize(
    "variables", [TORCH, SLURM, STEP, MPI, MPICH, JSRUN], ids=["torchrun", "slurm", "step", "mpi", "mpich", "jsrun"]
)
def test_more_processes_than_the_settings_say_are_refused_before_they_train(variables, environment):
    environment(**variables)
    assert not interruption.speaks()  # one of the four says it
    with pytest.raises(UserError, match=r"has started 4 processes \(.*=4\), but .*devices=1 × .* make 1"):
        enter(1)


@pytest.mark.parametrize("variables", [STEP, MPI, MPICH])
def test_as_many_as_the_settings_say_are_taken(variables, environment, connections):
    environment(**variables)
    enter(4)
    [seen] = connections
    assert (seen["RANK"], seen["WORLD_SIZE"], seen["LOCAL_RANK"]) == ("3", "4", "1")
    assert seen["MASTER_ADDR"] == "127.0.0.1"
    assert 1024 < int(seen["MASTER_PORT"]) < 65536
    assert Hardware(accelerator="cpu", devices="auto").processes_per_node == 4


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},
        {"LOCAL_RANK": "0"},
        SLURM | {"ENVIRONMENT": "BATCH", "SLURM_PROCID": "0"},  # the script, beside srun
        STEP | {"SLURM_JOB_NAME": "interactive"},
        {"NODE_RANK": "3", "MASTER_ADDR": "elsewhere", "MASTER_PORT": "abc"},
    ],
)
def test_what_is_left_over_and_harmless_is_passed_over(variables, environment, connections):
    environment(**variables)
    assert interruption.speaks() or "SLURM_JOB_NAME" in variables
    enter(1)
    if "WORLD_SIZE" not in variables:
        enter(2)  # starts the other one itself
        [seen] = connections
        assert (seen["RANK"], seen["WORLD_SIZE"], seen["MASTER_ADDR"], seen["NODE_RANK"]) == (
            "0",
            "2",
            "127.0.0.1",
            "0",
        )
        assert seen["MASTER_PORT"].isdecimal()
    assert "RANK" not in os.environ or "WORLD_SIZE" in variables  # as it was


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 without RANK"),
        ({"RANK": "3"}, "RANK=3 without WORLD_SIZE"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1 without RANK"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE=two in the environment is not a whole number from 1"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2 in the environment is not a whole number from 0 to 1"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK=-1 in the environment is not"),
        (TORCH | {"WORLD_SIZE": "2", "RANK": "1"}, r"without MASTER_ADDR and MASTER_PORT: set the address"),
        (TORCH | {"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "abc"}, "MASTER_PORT=abc in the environment is not"),
        (STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "MASTER_PORT": "70000"}, "MASTER_PORT=70000"),
        (STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "abc"}, "SLURM_JOB_ID=abc"),
        (TORCH | {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "5"}, r"more processes on .* than trainer.devices=2"),
    ],
)
def test_what_cannot_be_is_a_sentence(variables, sentence, environment, connections):
    environment(**variables)
    with pytest.raises(UserError, match=sentence) as mistake:
        enter(2)
    assert (
        interruption.speaks() or not mistake.value.everywhere or sentence.startswith(("MASTER", "SLURM_JOB", "without"))
    )
    assert not connections


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "NODE_RANK and MASTER_ADDR and MASTER_PORT is missing"),
        ({"MASTER_ADDR": "n0", "MASTER_PORT": "29500"}, "NODE_RANK is missing"),
        ({"MASTER_ADDR": "n0", "MASTER_PORT": "29500", "NODE_RANK": "2"}, "NODE_RANK=2 in the environment is not"),
        ({"MASTER_ADDR": "n0", "MASTER_PORT": "abc", "NODE_RANK": "1"}, "MASTER_PORT=abc in the environment is not"),
    ],
)
def test_several_nodes_without_a_launcher_need_to_know_each_other(variables, sentence, environment):
    environment(**variables)
    with pytest.raises(UserError, match=sentence):
        enter(2, num_nodes=2)


@pytest.mark.parametrize("variables", [TORCH, STEP, MPI, JSRUN, MPICH])
def test_a_command_that_is_one_process_is_refused_as_several(variables, environment):
    environment(**variables)
    with pytest.raises(UserError, match=r"has started this command as 4 processes .*start it once"):
        launchers.check_alone()


@pytest.mark.parametrize("variables", [{}, SLURM | {"ENVIRONMENT": "BATCH"}, {"WORLD_SIZE": "1", "RANK": "0"}])
def test_one_process_is_alone(variables, environment):
    environment(**variables)
    launchers.check_alone()


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"])
def test_what_libraries_read_as_they_are_imported_is_a_number_or_away(name, environment):
    environment(**{name: ""})
    launchers.check_ranks()
    assert name not in os.environ
    environment(**{name: "abc"})
    with pytest.raises(UserError, match=f"{name}=abc in the environment is not a whole number"):
        launchers.check_ranks()


def see_gpus(monkeypatch, count: int) -> list[int]:
    """As on a machine with so many GPUs; those that processes choose."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}"))
    return chosen


@pytest.mark.parametrize(("visible", "own"), [(8, 3), (4, 3), (1, 0)])
def test_a_process_takes_the_gpu_of_its_rank_or_the_only_one_that_it_sees(
    visible, own, environment, connections, monkeypatch, tmp_path
):
    chosen = see_gpus(monkeypatch, visible)
    environment(**MPI | {"OMPI_COMM_WORLD_LOCAL_RANK": "3"})
    enter(4, gpu=True)
    assert chosen == [own]
    environment(RANK="3", WORLD_SIZE="4", LOCAL_RANK="3")  # as within `processes`
    for known in (ranks_of_lightning, ranks_of_fabric):  # else loggers of later tests were those of process 3
        monkeypatch.setattr(known, "rank", 0, raising=False)
    trainer = Hardware(accelerator="gpu", devices=4, precision="32-true").trainer(1, [], [], tmp_path)
    assert trainer.strategy.root_device == torch.device("cuda", own)
    assert (trainer.world_size, trainer.global_rank) == (4, 3)


def test_more_processes_than_gpus_are_refused(environment, connections, monkeypatch):
    see_gpus(monkeypatch, 2)
    with pytest.raises(UserError, match=r"devices=3 wants a GPU for each process, but 2 .*: give trainer.devices=2"):
        enter(3, gpu=True)
    environment(**MPI | {"OMPI_COMM_WORLD_LOCAL_RANK": "3"})
    with pytest.raises(UserError, match=r"trainer.devices=4 wants a GPU for each process, but 2"):
        enter(4, gpu=True)
    gpus.refuse_shared(["n0 a", "n0 b", "n1 a"])
    with pytest.raises(UserError, match="processes 1 and 2 of this training share a GPU of n0"):
        gpus.refuse_shared(["n0 a", "n0 b", "n0 b"])


@pytest.mark.parametrize(
    ("visible", "devices", "shares"),
    [
        (None, 1, ["0", "1", "2", "3", "0"]),
        ("7,5", 1, ["7", "5", "7"]),
        (None, 2, ["0,1", "2,3", "0,1"]),
        (None, 4, [None, None]),
    ],
)
def test_trainings_side_by_side_share_the_gpus(visible, devices, shares, monkeypatch):
    see_gpus(monkeypatch, 4 if visible is None else 2)
    for job, share in enumerate(shares):
        with monkeypatch.context() as fresh:
            fresh.delenv("CUDA_VISIBLE_DEVICES", raising=False)
            if visible is not None:
                fresh.setenv("CUDA_VISIBLE_DEVICES", visible)
            fresh.delenv("FIELDFORGE_GPUS_OF_JOB", raising=False)
            gpus.spread(job, devices)
            assert os.environ.get("CUDA_VISIBLE_DEVICES") == share
            gpus.spread(job + 1, devices)  # a process that is given another trial keeps its GPU
            assert os.environ.get("CUDA_VISIBLE_DEVICES") == share
            os.environ.pop("FIELDFORGE_GPUS_OF_JOB", None)
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)


def test_a_gpu_is_used_unless_the_accelerator_says_otherwise(monkeypatch):
    see_gpus(monkeypatch, 1)
    assert Hardware(accelerator="auto").gpu
    assert not Hardware(accelerator="cpu").gpu


def test_whole_numbers_of_the_environment(monkeypatch):
    monkeypatch.setenv("SOME", "07")
    assert launchers.number("SOME", below=8) == 7
