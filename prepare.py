"""Turn assets into sample shards: python prepare.py source=furniture (see --help)."""

from omegaconf import DictConfig

from fieldforge.runs.entry import run


def main(config: DictConfig) -> None:
    from fieldforge.runs.prepare import run_preparation

    run_preparation(config)


def about(config: DictConfig) -> str:
    return f"embedding {config.shards}" if config.embed is not None else f"preparing shards in {config.output}"


if __name__ == "__main__":
    run(main, "prepare", about=about)
