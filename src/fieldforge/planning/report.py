"""A plan as a table in plain text."""

from __future__ import annotations

from fieldforge.planning.estimate import SECONDS_A_DAY, Cluster, EncodingPlan, Plan, StagePlan, memory_ddp, memory_fsdp
from fieldforge.terminal import duration, quantity

WIDTH = 18
UNKNOWN = "not known, the data is not here: give plan.shards and plan.samples"


def text(plan: Plan) -> str:
    """The plan as text."""
    cluster = plan.cluster
    lines = [
        f"{plan.experiment}: {quantity(cluster.nodes, 'node')} × {quantity(cluster.devices, cluster.kind)}, "
        f"{cluster.precision}, {short(cluster.peak_flops)}FLOP/s each at {cluster.utilisation:.0%} in matrix products",
    ]
    for stage in plan.stages:
        lines += ["", stage.name]
        lines += _encoding(stage, cluster) if isinstance(stage, EncodingPlan) else _stage(stage, cluster)
    lines += ["", _row("in all", duration(plan.days * SECONDS_A_DAY) if plan.days is not None else UNKNOWN)]
    lines += [
        "",
        "Memory is that of tensors: a device's context, libraries and fragmentation come on top (1 GiB and 10 %, say).",
        "Operations are those of matrix products, convolutions and attention, forward and backward.",
    ]
    return "\n".join(lines)


def _stage(stage: StagePlan, cluster: Cluster) -> list[str]:
    cost, world = stage.cost, cluster.world
    parts = " · ".join(f"{name.removeprefix('autoencoder.')} {short(size)}" for name, size in cost.parts.items())
    share = f", {stage.batch_size // world} a device" if world > 1 else ""
    share += f" in {stage.accumulate} parts" if stage.accumulate > 1 else ""
    each = f", {short(stage.operations)}FLOP a device" if world > 1 else ""
    operations = f"{short(stage.operations * world)}FLOP{each}"
    return [
        _row("parameters", f"{short(sum(cost.parts.values()))}: {parts}"),
        _row("a step", f"{quantity(stage.batch_size, 'sample')}{share} · {operations}"),
        *_memory(stage, world),
        _row("time", _time(stage, cluster)),
        _row("shards", _shards(stage, world)),
        *(_row("note", note) for note in stage.notes),
        *(_row("warning", warning) for warning in stage.warnings(cluster)),
    ]


def _memory(stage: StagePlan, world: int) -> list[str]:
    """Memory, with a column for each strategy."""
    cost = stage.cost
    layouts = {"DDP": memory_ddp(cost, world), "FSDP": memory_fsdp(cost, world)} if world > 1 else {
        "one process": memory_ddp(cost, world)
    }  # fmt: skip
    lines = [_row("memory a device", "".join(f"{name:>14}" for name in layouts))]
    for name in next(iter(layouts.values())):
        if any(rows[name] for rows in layouts.values()):
            lines.append(_row(f"  {name}", "".join(f"{binary(rows[name]):>14}" for rows in layouts.values())))
    lines.append(_row("  in all", "".join(f"{binary(sum(rows.values())):>14}" for rows in layouts.values())))
    if cost.checkpointed < 0.9 * cost.activations:
        lines.append(_row("", f"with transformers that recompute activations, these are {binary(cost.checkpointed)}"))
    return lines


def _time(stage: StagePlan, cluster: Cluster) -> str:
    least = f", at least {quantity(stage.min_steps, 'step')}" if stage.min_steps else ""
    minutes = "" if stage.max_minutes is None else f" or {stage.max_minutes:g} minutes{least}"
    return (
        f"{duration(stage.step_seconds(cluster))} a step ({stage.utilisation(cluster):.2g} of the peak) · "
        f"{short(stage.samples_a_day(cluster))}samples a day · "
        f"{quantity(stage.max_steps, 'step')}{minutes}: {duration(stage.days(cluster) * SECONDS_A_DAY)}"
    )


def _shards(stage: StagePlan, world: int) -> str:
    data = stage.data
    if data.shards is None:
        return UNKNOWN
    epochs = f" · {stage.max_steps * stage.batch_size / data.samples:,.1f} epochs" if data.samples else ""
    return (
        f"{data.shards:,} for {quantity(world, 'rank')}: {data.shards / world:.4g} each, "
        f"{quantity(data.readers(world), 'reader')}{epochs}"
    )


def _encoding(stage: EncodingPlan, cluster: Cluster) -> list[str]:
    days = stage.days(cluster)
    time = UNKNOWN
    if days is not None and stage.samples is not None:
        time = f"{quantity(stage.samples, 'sample')}: {duration(days * SECONDS_A_DAY)}"
    return [
        _row(
            "encoding",
            f"{short(stage.operations)}FLOP a sample in float32 · shared by {quantity(cluster.world, 'device')}",
        ),
        _row("time", time),
    ]


def _row(name: str, value: str) -> str:
    return f"  {name:<{WIDTH}}{value}".rstrip()


def short(number: float) -> str:
    """1234567 as `1.23 M`, with a blank at the end where a unit may follow."""
    for factor, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {letter}"
    return f"{number:.3g} "


def binary(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
