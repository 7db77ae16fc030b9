"""Train a generative model of 3D shapes: python train.py experiment=shape_latent (see --help)."""

from typing import Any

from omegaconf import DictConfig

from fieldforge.runs.entry import run


def main(config: DictConfig) -> dict[str, Any]:
    from fieldforge.runs.train import run_training

    return run_training(config)


def about(config: DictConfig) -> str:
    if config.plan.show:
        return f"planning {config.name}"
    return f"training {config.name}, in stages: {', '.join(config.stages)}"


if __name__ == "__main__":
    run(
        main,
        "train",
        keeps_state=True,
        words={"plan": ("plan.show", "plan.show")},
        example="experiment=shape_latent",
        about=about,
    )
