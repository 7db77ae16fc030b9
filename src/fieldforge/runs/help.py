"""What `--help` shows out of the configuration files themselves, as resolvers that its templates name.

`${help.settings:commands/sample}` is the settings of a file with the comments beside them, which Hydra's own `$CONFIG`
leaves out; `${help.choices:sampler}` is the choices of a group.
"""

from pathlib import Path

from omegaconf import OmegaConf


def register(configs: Path) -> None:
    """Make both resolvers known, for files below `configs`."""
    OmegaConf.register_new_resolver("help.settings", lambda name: settings(configs / f"{name}.yaml"), replace=True)
    OmegaConf.register_new_resolver("help.choices", lambda group: choices(configs / group), replace=True)


def settings(file: Path) -> str:
    """What stands between the defaults list, which a blank line ends, and Hydra's block, without the classes of blocks.

    `$` is doubled for templates.
    """
    _, _, after_defaults = file.read_text(encoding="utf-8").partition("\n\n")
    ours, _, _ = after_defaults.partition("\nhydra:\n")
    lines = (line for line in ours.rstrip().split("\n") if not line.lstrip().startswith("_target_:"))
    return "\n".join(lines).replace("$", "$$")


def choices(group: Path) -> str:
    """The names of the files of a group, in the order of the alphabet."""
    return ", ".join(sorted(file.stem for file in group.glob("*.yaml")))
