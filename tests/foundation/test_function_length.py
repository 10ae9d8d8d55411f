"""No function of the product is longer than a screen, unless it says why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.settings import PROJECT_DIR

MOST_LINES = 60
REASON = "# longer than 60 lines: "
ROOMS = (
    "foundation",
    "warehouse",
    "ingest",
    "expectations",
    "ml",
    "alerts",
    "sample_shop",
    "runner",
    "dags",
    "benchmarks",
)


@pytest.mark.parametrize("room", ROOMS)
def test_no_function_is_longer_than_sixty_lines_unless_it_says_why(room: str) -> None:
    files = sorted((PROJECT_DIR / room).rglob("*.py"))
    assert files
    assert [name for file in files for name in find_long_functions(file)] == []


def test_a_long_function_is_found_and_one_that_says_why_is_let_be(tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    body = "    print()\n" * MOST_LINES
    file.write_text(f"def plain():\n{body}\n\ndef reasoned():  {REASON}a table\n{body}\n\ndef short():\n    print()\n")
    assert list(find_long_functions(file)) == [f"{file}:1 plain: {MOST_LINES + 1} lines"]


def find_long_functions(file: Path) -> Iterator[str]:
    text = file.read_text()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_LINES and REASON not in lines[node.lineno - 1]:
                yield f"{file}:{node.lineno} {node.name}: {length} lines"
