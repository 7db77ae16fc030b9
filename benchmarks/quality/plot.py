"""The measured cells as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from latent_quality import markdown_table
from quality.measures import Cell
from quality.samplers import BUDGETS


def table(cells: list[Cell], budgets: list[int]) -> str:
    """Fréchet distance and, in brackets, 1-NNA in per cent."""
    by_place = {(cell.sampler, cell.budget): cell for cell in cells}
    rows = []
    for name in dict.fromkeys(cell.sampler for cell in cells):
        row_cells = [by_place.get((name, budget)) for budget in budgets]
        texts = [f"{cell.frechet:.3f} ({100 * cell.accuracy:.0f})" if cell else "" for cell in row_cells]
        rows.append([f"`{name}`" if "," not in name else name, *texts])
    return markdown_table(["evaluations ≤", *map(str, budgets)], rows)


def draw(cells: list[Cell], floor: float, path: Path) -> None:
    """Both measures against the number of evaluations, a line for each sampler; `floor`: of real latents."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), constrained_layout=True)
    for name in dict.fromkeys(cell.sampler for cell in cells):
        own = [cell for cell in cells if cell.sampler == name]
        evaluations = [cell.evaluations for cell in own]
        style = {"marker": "o", "markersize": 3, "linewidth": 1.2, "label": name}
        left.plot(evaluations, [cell.frechet for cell in own], **style)
        right.plot(evaluations, [100 * cell.accuracy for cell in own], **style)
    left.axhline(floor, color="gray", linewidth=0.8, linestyle=":")
    right.axhline(50, color="gray", linewidth=0.8, linestyle=":")
    left.set(title="Fréchet distance of latents", yscale="log", xscale="log", xlabel="network evaluations")
    right.set(title="1-NNA of decoded shapes, %", xscale="log", xlabel="network evaluations")
    for axes in (left, right):
        axes.set_xticks(BUDGETS, [str(number) for number in BUDGETS])
        axes.minorticks_off()
    right.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(path)
