"""Make samples on a page in the browser: python app.py run=pretrained (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from set_up import check_set_up

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    from fieldforge.runs.serve import run_app

    run_app(config)


def about(config: DictConfig) -> str:
    newest = f"the newest latent run below {config.output_dir}, or where there is none, the pretrained weights"
    return f"opening a page for {config.run or newest}"


if __name__ == "__main__":
    check_set_up()
    from fieldforge.runs.early_checks import check_app_keys
    from fieldforge.runs.entry import run

    run(
        main,
        "commands/app",
        words={"guidance": ("guidance", "guidance.scale"), "adapter": ("adapters", "adapters")},
        choices=True,
        check=check_app_keys,
        about=about,
    )
