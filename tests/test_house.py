"""What docs/architecture.md says of the house, as far as it can be counted."""

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "fieldforge"
BENCHMARKS = PACKAGE.parents[1] / "benchmarks"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
ROOMS = ("settings.py", "transforms.py")
"""The two names that a room may have beside others."""


def test_a_modules_name_says_in_the_whole_package_what_it_holds():
    names = Counter(path.name for path in MODULES)
    assert sorted(name for name, count in names.items() if count > 1) == sorted(ROOMS)


def test_files_and_functions_fit_a_reader():
    texts = {path: path.read_text() for path in MODULES}
    assert [path for path, text in texts.items() if len(text.splitlines()) >= 300] == []
    functions = [
        (path.name, node.name, node.end_lineno - node.lineno + 1)
        for path, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [one for one in functions if one[2] > 40] == []


def test_no_room_is_more_than_twelve_hundredths_of_the_house():
    lines = Counter()
    for path in PACKAGE.rglob("*.py"):
        lines[path.relative_to(PACKAGE).parts[0]] += len(path.read_text().splitlines())
    [(room, most)] = lines.most_common(1)
    assert most <= 0.12 * lines.total(), room


def test_every_benchmark_stands_in_their_list():
    listed = (BENCHMARKS / "README.md").read_text()
    assert [path.name for path in sorted(BENCHMARKS.glob("*.py")) if path.name not in listed] == []
