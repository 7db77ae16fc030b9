"""Resolvers for the templates of `--help`, which quote the configuration files.

`${help.settings:commands/sample}` gives the settings of a file with their comments, which Hydra's own `$CONFIG` omits.
`${help.choices:sampler}` gives the choices of a group, `${help.contents:commands/guidance}` the content of each.
"""

from pathlib import Path

from omegaconf import OmegaConf


def register(configs: Path) -> None:
    """Register the resolvers for files below `configs`."""
    OmegaConf.register_new_resolver("help.settings", lambda name: settings(configs / f"{name}.yaml"), replace=True)
    OmegaConf.register_new_resolver("help.contents", lambda group: contents(configs / group), replace=True)
    OmegaConf.register_new_resolver("help.choices", lambda group: choices(configs / group), replace=True)


def settings(file: Path) -> str:
    """The part of a file between the blank line after the defaults list and Hydra's block."""
    _, _, after_defaults = file.read_text(encoding="utf-8").partition("\n\n")
    ours, _, _ = after_defaults.partition("\nhydra:\n")
    return shown(ours)


def shown(text: str) -> str:
    """The text without its `_target_` lines; `$` is doubled for templates."""
    lines = (line for line in text.rstrip().split("\n") if not line.lstrip().startswith("_target_:"))
    return "\n".join(lines).replace("$", "$$")


def choices(group: Path) -> str:
    """The choices of a group, in alphabetical order."""
    return ", ".join(sorted(file.stem for file in group.glob("*.yaml")))


def contents(group: Path) -> str:
    """The content of each file of a group under its name, without its defaults list."""
    parts = []
    for file in sorted(group.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        about, _, rest = text.partition("\n")
        ours = rest.partition("\n\n")[2] if rest.startswith("defaults:") else rest
        lines = [f"{file.stem}: {about.lstrip('# ')}", *shown(ours).splitlines()]
        parts.append("\n  ".join(lines))
    return "\n".join(parts)
