"""What the benchmarks on a finished run share of their command lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fieldforge.errors import UserError


def run_parser(about: str | None, run: str) -> argparse.ArgumentParser:
    """Arguments of a benchmark: the directory of a `run`, the shards to measure on, whether docs/ are written."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help=f"directory of {run}")
    parser.add_argument("--data", help="sample shards; those of the run's configuration")
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/ as they are")
    return parser


def this_command() -> str:
    """The command line of this benchmark, as it is typed."""
    return " ".join([f"python benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def answer(measure: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Measures what the command line asks for; a mistake is one sentence and exit code 2."""
    try:
        measure(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
