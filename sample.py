"""Make samples from prompts with a finished latent run: python sample.py prompt="a red armchair" (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from set_up import check_set_up

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    from fieldforge.runs.sample import run_sampling

    run_sampling(config)


def about(config: DictConfig) -> str:
    newest = f"the newest latent run below {config.output_dir}, or where there is none, the pretrained weights"
    return f"sampling {config.run or newest}"


if __name__ == "__main__":
    check_set_up()
    from fieldforge.runs.early_checks import check_sampling_keys
    from fieldforge.runs.entry import run

    run(
        main,
        "commands/sample",
        words={"guidance": ("guidance", "guidance.scale"), "adapter": ("adapters", "adapters")},
        choices=True,
        check=check_sampling_keys,
        about=about,
    )
