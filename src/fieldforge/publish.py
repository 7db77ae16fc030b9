"""Make a finished run weights that a repository holds: python -m fieldforge.publish run=… output=pretrained/<name>."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldforge.runs.entry import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    from fieldforge.runs.publish import run_publishing

    run_publishing(config)


def about(config: DictConfig) -> str:
    return f"publishing {config.run or f'the newest diffusion below {config.output_dir}'}"


if __name__ == "__main__":
    run(main, "commands/publish", about=about)
