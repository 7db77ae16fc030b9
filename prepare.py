"""Turn assets into sample shards: python prepare.py source=furniture (see --help)."""

from omegaconf import DictConfig

from fieldforge.runs.entry import run


def main(config: DictConfig) -> None:
    from fieldforge.runs.prepare import run_preparation

    run_preparation(config)


def about(config: DictConfig) -> str:
    if config.embed is not None:
        return f"embedding {config.shards}"
    return f"preparing shards in {config.output}" if config.get("source") else "preparing nothing"


if __name__ == "__main__":
    run(main, "prepare", about=about)
