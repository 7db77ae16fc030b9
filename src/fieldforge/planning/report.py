"""A plan as a table in plain text."""

from __future__ import annotations

from dataclasses import replace

from fieldforge.planning.bill import Charge
from fieldforge.planning.cluster import SECONDS_A_DAY, Cluster
from fieldforge.planning.encoding_plan import EncodingPlan
from fieldforge.planning.estimate import Plan, StagePlan
from fieldforge.planning.step_cost import memory_ddp, memory_fsdp
from fieldforge.terminal import duration, quantity

WIDTH = 18
UNKNOWN = "not known, the data is not here: give plan.shards and plan.samples"


def text(plan: Plan) -> str:
    """The plan as text."""
    cluster, links = plan.cluster, plan.cluster.links
    lines = [
        f"{plan.experiment}: {quantity(links.nodes, 'node')} × {quantity(links.devices, cluster.kind)}, "
        f"{cluster.precision}, {short(cluster.peak_flops)}FLOP/s each at {cluster.utilisation:.0%} in matrix products",
    ]
    for stage in plan.stages:
        lines += ["", stage.name]
        lines += _encoding(stage, cluster) if isinstance(stage, EncodingPlan) else _stage(stage, cluster)
    lines += ["", _row("in all", _whole(plan))]
    lines += [
        "",
        "Memory is that of tensors: a device's context, libraries and fragmentation come on top (1 GiB and 10 %, say).",
        "Operations are those of matrix products, convolutions and attention, forward and backward.",
    ]
    return "\n".join(lines)


def _whole(plan: Plan) -> str:
    """Time of all stages, device hours, and their price where it is known."""
    if plan.unknown:
        known = tuple(stage for stage in plan.stages if stage.name not in plan.unknown)
        rest = f"{_whole(replace(plan, stages=known))}, without " if known else ""
        return f"{rest}{', '.join(plan.unknown)}: {UNKNOWN}"
    hours, each = plan.device_hours, plan.cluster.price_an_hour
    assert plan.days is not None
    assert hours is not None
    price = "" if plan.price is None else f", {_amount(plan.price)} at {each:g} an hour"
    return f"{duration(plan.days * SECONDS_A_DAY)}, {_amount(hours)} device hours{price}"


def _amount(number: float) -> str:
    """1234.5 as `1,234`, 1.2345 as `1.23`."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


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
        *_bill(stage.charges(cluster)),
        *_exchange(stage, cluster),
        *_reading(stage, cluster),
        _row("checkpoint", f"{binary(cost.checkpoint)}"),
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
    limit = "" if stage.max_minutes is None else f"{quantity(stage.max_steps, 'step')} or {stage.max_minutes:g} minutes"
    steps = quantity(stage.steps(cluster), "step")
    return (
        f"{duration(stage.step_seconds(cluster))} a step ({stage.utilisation(cluster):.2g} of the peak) · "
        f"{short(stage.samples_a_day(cluster))}samples a day · "
        f"{limit and f'{limit}{least}: '}{steps}, {duration(stage.seconds(cluster))}"
    )


def _bill(charges: list[Charge]) -> list[str]:
    """A row for each item of a bill."""
    times = [f"{one.times:,} × {duration(one.each)}" if one.times != 1 else "" for one in charges]
    return [
        _row(f"  {one.name}", f"{duration(one.seconds):>14}   {text}") for one, text in zip(charges, times, strict=True)
    ]


def _exchange(stage: StagePlan, cluster: Cluster) -> list[str]:
    """What devices exchange in a step; nothing where there is one."""
    if cluster.world == 1:
        return []
    time = stage.step_time(cluster)
    waits = f"{duration(time.exposed)} of it not during the kernels" if time.exposed else "all of it during the kernels"
    return [_row("exchange", f"{duration(time.exchange)} a step, {waits} ({cluster.strategy.upper()})")]


def _reading(stage: StagePlan, cluster: Cluster) -> list[str]:
    """Bytes a second beside those of the store."""
    if stage.data.sample_bytes is None:
        return [_row("reading", "not known, the data is not here: give plan.sample_bytes")]
    time = stage.step_time(cluster)
    devices = time.compute + time.exposed
    slower = f"the steps, {duration(devices)} each without it, wait for the store" if time.reads_too_slowly else (
        "the store is faster than the steps"
    )  # fmt: skip
    rate = f"{short(stage.step_bytes / devices)}B/s of {short(cluster.store_bandwidth)}B/s: {slower}"
    return [_row("reading", f"{short(stage.data.sample_bytes)}B a sample, {rate}")]


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
    seconds = stage.seconds(cluster)
    time = UNKNOWN
    if seconds is not None and stage.samples is not None:
        time = f"{quantity(stage.samples, 'sample')}: {duration(seconds)}"
    shared = f" · shared by {quantity(cluster.world, 'device')}" if cluster.world > 1 else ""
    read = "" if stage.read is None else f"{short(stage.read)}B read and "
    return [
        _row("encoding", f"{short(stage.operations)}FLOP a sample in float32, {stage.batch_size} at a time{shared}"),
        _row("a sample", f"{read}{short(stage.written)}B written"),
        _row("memory a device", f"{binary(stage.memory):>14}"),
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
