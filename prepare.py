"""Turn assets into sample shards: python prepare.py source=furniture (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from set_up import check_set_up

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    from fieldforge.runs.prepare import run_preparation

    run_preparation(config)


def about(config: DictConfig) -> str:
    return f"preparing shards in {config.output}" if config.embed is None else f"embedding {config.shards}"


if __name__ == "__main__":
    check_set_up()
    from fieldforge.runs.early_checks import check_preparation_keys
    from fieldforge.runs.entry import run

    run(main, "prepare", resumes=True, check=check_preparation_keys, about=about)
