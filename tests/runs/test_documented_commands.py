"""Every command that the documentation and the configurations write can be composed."""

import re
import shlex
from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir

from fieldforge.runs.command_line import rewritten
from fieldforge.runs.entry import CONFIGS

ROOT = CONFIGS.parent
NAMES = {
    "train": "train",
    "prepare": "prepare",
    "sample": "commands/sample",
    "evaluate": "commands/evaluate",
    "export": "commands/export",
    "compare": "commands/compare",
    "app": "commands/app",
}
WORDS = {
    "train": {"plan": ("plan.show", "plan.show")},
    "prepare": {},
    "sample": {"guidance": ("guidance", "guidance.scale"), "adapter": ("adapters", "adapters")},
    "evaluate": {},
    "export": {},
    "compare": {"guidance": ("guidance_scale", "guidance_scale")},
    "app": {"guidance": ("guidance", "guidance.scale"), "adapter": ("adapters", "adapters")},
}
GROUPS = [path.name for path in CONFIGS.iterdir() if path.is_dir()]
COMMAND = re.compile(r"(?:^|`|\s)python (train|prepare|sample|evaluate|export|compare|app)\.py\b([^`]*)")
ELSEWHERE = ("--config-dir", "hydra.searchpath", "file://")  # configurations beside the package have tests of their own


def written() -> Iterator[tuple[str, str, str]]:
    """(file, command, arguments) of each command in a code block, in back quotes, or in a configuration's head."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(CONFIGS.glob("experiment/*.yaml"))]:
        text = path.read_text().replace("\\\n", " ")
        lines = re.findall(r"^# ?(python .*)$", text, re.M) if path.suffix == ".yaml" else code_of(text)
        for line in lines:
            for command, rest in COMMAND.findall(line):
                if not any(word in line for word in ELSEWHERE):
                    yield path.name, command, re.split(r"\s{2,}(?!\s)|\s#\s|\s&&\s|;", rest.strip() + " ")[0]


def code_of(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    quoted = re.findall(r"`(python [^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [line for block in blocks for line in block.splitlines()] + quoted


def arguments(command: str, text: str) -> list[str]:
    words = [word for word in shlex.split(text) if "=" in word and not word.startswith("--")]
    words = [re.sub(r"<[^>]*>", "x", word) for word in words if "…" not in word.partition("=")[0]]
    ordered = rewritten(words, WORDS[command], GROUPS)
    return [word for word in ordered if not word.startswith("-")]


def is_partial(command: str, text: str) -> bool:
    """Whether a command leaves something to its reader: its experiment, a file that he writes; or it lists values."""
    lists = "," in text and "[" not in text
    return lists or "sampler=midpoint" in text or (command == "train" and not re.search(r"experiment=\w", text))


COMMANDS = sorted(set(written()))


def test_there_are_commands_to_look_at():
    assert {command for _, command, _ in COMMANDS} == set(NAMES)
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("command", NAMES)
def test_documented_commands_compose(command: str):
    folder, _, name = NAMES[command].rpartition("/")
    wrong, composed = [], set()
    with initialize_config_dir(str(CONFIGS / folder), version_base="1.3"):
        for file, of, text in COMMANDS:
            if of != command or is_partial(of, text):
                continue
            search = [f"hydra.searchpath=[file://{CONFIGS}]"] if folder else []
            words = tuple(arguments(command, text))
            if words in composed:  # it stands in several places
                continue
            composed.add(words)
            try:
                compose(name, [*search, *words], return_hydra_config=False)
            except Exception as error:
                wrong.append(f"{file}: python {command}.py {text}: {' '.join(str(error).split())[:200]}")
    assert not wrong, "\n".join(wrong)


def test_compare_takes_a_list_of_prompts_and_a_guidance_scale():
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        config = compose("compare", rewritten(["prompts=[a chair,a bed]", "guidance=2"], WORDS["compare"], GROUPS))
    assert (list(config.prompts), config.guidance_scale) == (["a chair", "a bed"], 2)
