"""Compare models on the same prompts and seeds: python compare.py runs=[pretrained,outputs/...] (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from set_up import check_set_up

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    from fieldforge.runs.compare import run_comparison

    run_comparison(config)


def about(config: DictConfig) -> str:
    return f"comparing {', '.join(map(str, config.runs or ()))}"


if __name__ == "__main__":
    check_set_up()
    from fieldforge.runs.early_checks import check_comparison_keys
    from fieldforge.runs.entry import run

    words = {"guidance": ("guidance_scale", "guidance_scale")}  # Hydra takes the short key for a group
    run(main, "commands/compare", words=words, check=check_comparison_keys, about=about)
