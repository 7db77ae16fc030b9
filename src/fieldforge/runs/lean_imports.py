"""Imports of PyTorch Lightning without the packages that come along unused.

Lightning imports torchmetrics, which imports Matplotlib, scipy.signal and Transformers wherever they are installed, for
plots and metrics that no command has. They took 3.3 of the 7.3 s of processor time of its import, and 116 MB of each
process.
"""

from __future__ import annotations

import re
from functools import cache

OPTIONAL = frozenset({"matplotlib", "scipy", "transformers"})
"""Packages of torchmetrics' plots, of metrics of sounds and of metrics by language models."""


@cache
def install() -> None:
    """Let Lightning's packages find no `OPTIONAL` one, by the questions that they ask before such an import.

    Everything else imports them as ever. Called before the import of Lightning.
    """
    from lightning_utilities.core import imports

    is_met, is_there = imports.RequirementCache.__bool__, imports.package_available

    def is_met_and_used(requirement: imports.RequirementCache) -> bool:
        return re.split(r"\W", requirement.requirement or "")[0] not in OPTIONAL and is_met(requirement)

    imports.RequirementCache.__bool__ = is_met_and_used  # type: ignore[assignment,method-assign]
    imports.package_available = lambda name: name not in OPTIONAL and is_there(name)  # type: ignore[assignment]
