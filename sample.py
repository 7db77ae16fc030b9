"""Make samples from prompts with a finished latent run: python sample.py prompt="a red armchair" (see --help)."""

from omegaconf import DictConfig

from fieldforge.runs.entry import run


def main(config: DictConfig) -> None:
    from fieldforge.runs.sample import run_sampling

    run_sampling(config)


def about(config: DictConfig) -> str:
    return f"sampling {config.run or f'the newest latent run below {config.output_dir}'}"


if __name__ == "__main__":
    run(
        main,
        "commands/sample",
        words={"guidance": ("guidance", "guidance.scale")},
        choices=True,
        about=about,
    )
