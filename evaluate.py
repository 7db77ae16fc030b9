"""Measure a finished run on held-out assets or prompts: python evaluate.py run=outputs/... (see --help)."""

from omegaconf import DictConfig

from fieldforge.runs.entry import run


def main(config: DictConfig) -> None:
    from fieldforge.runs.evaluate import run_evaluation

    run_evaluation(config)


if __name__ == "__main__":
    run(main, "commands/evaluate")
