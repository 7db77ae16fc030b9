"""Show shards in FiftyOne's App: python -m fieldforge.fiftyone import shards=data/furniture_cc0 (docs/fiftyone.md)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fieldforge.errors import EXIT_MISTAKE
from fieldforge.runs.entry import run
from fieldforge.terminal import say

if TYPE_CHECKING:
    from omegaconf import DictConfig

VERB = "import"
USAGE = "python -m fieldforge.fiftyone import shards=data/furniture_cc0"


def main(config: DictConfig) -> None:
    from fieldforge.viewing.training_set import run_import

    run_import(config)


def check(config: DictConfig) -> None:
    from fieldforge.configuration.settings import read_settings
    from fieldforge.viewing.settings import ImportSettings

    read_settings(config, ImportSettings)


def about(config: DictConfig) -> str:
    return f"showing {config.shards}"


if __name__ == "__main__":
    if sys.argv[1:2] == [VERB]:
        del sys.argv[1]
    elif sys.argv[1:2] not in (["--help"], ["-h"]):
        say(f"error: say what to do: {USAGE}")
        sys.exit(EXIT_MISTAKE)
    run(main, "commands/fiftyone", check=check, about=about)
