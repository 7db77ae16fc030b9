"""Measure a finished run on held-out assets or prompts: python evaluate.py run=outputs/... (see --help)."""

from omegaconf import DictConfig

from fieldforge.runs.entry import run


def main(config: DictConfig) -> None:
    from fieldforge.runs.evaluate import run_evaluation

    run_evaluation(config)


def about(config: DictConfig) -> str:
    return f"evaluating {config.run or f'the newest run below {config.output_dir}'}"


if __name__ == "__main__":
    run(main, "commands/evaluate", about=about)
