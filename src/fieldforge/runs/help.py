"""What `--help` shows out of the configuration files themselves, as resolvers that its templates name.

`${help.settings:commands/sample}` is the settings of a file with the comments beside them, which Hydra's own `$CONFIG`
leaves out; `${help.choices:sampler}` is the choices of a group, `${help.contents:commands/guidance}` what stands in
each.
"""

from pathlib import Path

from omegaconf import OmegaConf


def register(configs: Path) -> None:
    """Make both resolvers known, for files below `configs`."""
    OmegaConf.register_new_resolver("help.settings", lambda name: settings(configs / f"{name}.yaml"), replace=True)
    OmegaConf.register_new_resolver("help.contents", lambda group: contents(configs / group), replace=True)
    OmegaConf.register_new_resolver("help.choices", lambda group: choices(configs / group), replace=True)


def settings(file: Path) -> str:
    """What stands between the defaults list, which a blank line ends, and Hydra's block."""
    _, _, after_defaults = file.read_text(encoding="utf-8").partition("\n\n")
    ours, _, _ = after_defaults.partition("\nhydra:\n")
    return shown(ours)


def shown(text: str) -> str:
    """The lines of a file without the classes of blocks; `$` is doubled for templates."""
    lines = (line for line in text.rstrip().split("\n") if not line.lstrip().startswith("_target_:"))
    return "\n".join(lines).replace("$", "$$")


def choices(group: Path) -> str:
    """The names of the files of a group, in the order of the alphabet."""
    return ", ".join(sorted(file.stem for file in group.glob("*.yaml")))


def contents(group: Path) -> str:
    """Each file of a group under its name, without its defaults list."""
    parts = []
    for file in sorted(group.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        about, _, rest = text.partition("\n")
        ours = rest.partition("\n\n")[2] if rest.startswith("defaults:") else rest
        lines = [f"{file.stem}: {about.lstrip('# ')}", *shown(ours).splitlines()]
        parts.append("\n  ".join(lines))
    return "\n".join(parts)
