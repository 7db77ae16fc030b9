"""The measured objectives as tables and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from latent_quality import markdown_table
from matplotlib.colors import LogNorm
from objectives_compared.choices import COLUMNS, PREDICTIONS, RECIPES, SEEDS, WEIGHTINGS, Objective

Results = Mapping[str, tuple[float, float]]  # (held-out error, Fréchet distance) by key
ROWS = [(prediction, weighting) for prediction in PREDICTIONS for weighting in WEIGHTINGS]
HEADS = [process if density == "uniform" else "any, shapes" for process, density in COLUMNS]


def tables(results: Results) -> str:
    """The recipes, best first, ± one deviation over seeds; then the whole grid."""
    head = ["known as", "prediction", "process", "weighting", "density", "Fréchet distance", "held-out error of x̂₀"]
    rows = []
    for recipe in RECIPES:
        figures = np.array([results[replace(recipe, seed=seed).key] for seed in SEEDS])  # (seeds, 2)
        error_text, distance_text = (
            f"{mean:.3f} ± {std:.3f}" for mean, std in zip(figures.mean(0), figures.std(0, ddof=1), strict=True)
        )
        rows.append([recipe.known, *(f"`{choice}`" for choice in recipe.choices.split()), distance_text, error_text])
    recipes = markdown_table(head, sorted(rows, key=lambda row: float(row[-2].split()[0])))
    error, distance = _grid(results)
    cells = [
        [f"`{prediction}`", f"`{weighting}`", *(f"{d:.3f} ({e:.2f})" for d, e in zip(*both, strict=True))]
        for (prediction, weighting), *both in zip(ROWS, distance, error, strict=True)
    ]
    whole = markdown_table(["prediction", "weighting", *HEADS], cells)
    return f"{recipes}\n\n{PICTURE}\n\n{whole}"


PICTURE = (
    "![Fréchet distance and held-out error of every prediction and weighting (rows) under every process (columns)]"
    "(images/objectives.png)"
)


def draw(results: Results, path: Path) -> None:
    """Both measures, a row for each prediction × weighting, a column for each way to draw noise levels."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 9), constrained_layout=True)
    titles = ("held-out error of x̂₀", "Fréchet distance of samples")
    for axes, title, values in zip(panels[::-1], titles, _grid(results), strict=True):
        finite = np.where(np.isfinite(values), values, np.nan)
        low, high = np.nanmin(finite), np.nanmin(finite) * 8  # what is further is bad enough
        axes.imshow(finite, norm=LogNorm(low, high), cmap="viridis_r", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            bright = value < low * 3
            axes.text(column, row, _short(value), ha="center", va="center", fontsize=7, color="k" if bright else "w")
        axes.set_xticks(range(len(HEADS)), HEADS, rotation=30, ha="right", fontsize=8)
        axes.set_yticks(range(len(ROWS)), [f"{prediction}, weighted {w}" for prediction, w in ROWS], fontsize=8)
        axes.set_title(title, fontsize=10)
        for row in range(len(WEIGHTINGS), len(ROWS), len(WEIGHTINGS)):
            axes.axhline(row - 0.5, color="w", linewidth=2)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(path)


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.0f}" if value < 1e4 else ">10⁴"


def _grid(results: Results) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of errors, and of distances."""
    figures = [
        [results[Objective(prediction, process, weighting, density).key] for process, density in COLUMNS]
        for prediction, weighting in ROWS
    ]
    errors, distances = np.moveaxis(np.array(figures), -1, 0)
    return errors, distances
