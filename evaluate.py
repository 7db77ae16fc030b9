"""Measure a finished run on held-out assets or prompts: python evaluate.py run=outputs/... (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from set_up import check_set_up

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    from fieldforge.runs.evaluate import run_evaluation

    run_evaluation(config)


def about(config: DictConfig) -> str:
    return f"evaluating {config.run or f'the newest run below {config.output_dir}'}"


if __name__ == "__main__":
    check_set_up()
    from fieldforge.runs.early_checks import check_evaluation_keys
    from fieldforge.runs.entry import run

    run(main, "commands/evaluate", check=check_evaluation_keys, about=about)
