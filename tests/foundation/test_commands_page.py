"""The page of commands has every command."""

from __future__ import annotations

import argparse
import re
from importlib import import_module

import pytest

from foundation.settings import PROJECT_DIR

PAGE = (PROJECT_DIR / "docs" / "commands.md").read_text(encoding="utf-8")


def _list_subcommands(parser: argparse.ArgumentParser) -> list[str]:
    names = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                names += [name, *_list_subcommands(below)]
    return names


@pytest.mark.parametrize("room", ["ingest", "expectations", "ml", "alerts", "sample_shop", "runner"])
def test_every_command_of_a_room_is_on_the_page(room: str) -> None:
    parser: argparse.ArgumentParser = import_module(f"{room}.__main__")._make_parser()
    told = " ".join(re.findall(rf"^\| `-m {room}\b.*$", PAGE, flags=re.MULTILINE))
    assert told and [name for name in _list_subcommands(parser) if not re.search(rf"[`\s]{name}\b", told)] == []


def test_every_make_target_is_on_the_page() -> None:
    makefile = (PROJECT_DIR / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE)
    assert len(targets) > 10 and [name for name in targets if f"`make {name}" not in PAGE] == []
