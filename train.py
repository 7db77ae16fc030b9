"""Train a generative model of 3D shapes: python train.py experiment=shape_latent (see --help)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from set_up import check_set_up

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> dict[str, Any]:
    from fieldforge.runs.train import run_training

    return run_training(config)


def about(config: DictConfig) -> str:
    if config.plan.show:
        return f"planning {config.name}"
    return f"training {config.name}, in stages: {', '.join(config.stages)}"


if __name__ == "__main__":
    check_set_up()
    from fieldforge.runs.early_checks import check_training_keys
    from fieldforge.runs.entry import run

    run(
        main,
        "train",
        keeps_state=True,
        words={"plan": ("plan.show", "plan.show")},
        example="experiment=shape_latent",
        check=check_training_keys,
        about=about,
    )
