"""Write a run for others, or in the format of another house; convert meshes: python export.py … (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from set_up import check_set_up

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    from fieldforge.runs.export import run_export

    run_export(config)


def about(config: DictConfig) -> str:
    if config.meshes is not None:
        return f"converting {config.meshes}"
    return f"exporting {config.run or f'the newest diffusion below {config.output_dir}'}"


if __name__ == "__main__":
    check_set_up()
    from fieldforge.runs.early_checks import check_export_keys
    from fieldforge.runs.entry import run

    run(main, "commands/export", check=check_export_keys, about=about)
