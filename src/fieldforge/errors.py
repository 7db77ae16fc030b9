"""The one exception that is shown to users."""


class UserError(ValueError):
    """Bad input from outside: a config key, an asset, a shard, a checkpoint, a prompt file.

    Its message is one sentence that says what is wrong, where, and what to do. Entry points print it without a
    traceback and leave with exit code 2.
    """

    everywhere = True  # in a training of several processes: the first one meets it too, and prints it for all


def install_command(extra: str) -> str:
    """The command that installs an extra, for messages."""
    return f"pip install '.[{extra}]' in the folder of Fieldforge's source"
