"""There is one tree of errors, and its map is level with it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

from foundation import errors
from foundation.errors import FunnelhouseError
from foundation.settings import PROJECT_DIR

ROOMS = ("foundation", "warehouse", "ingest", "expectations", "ml", "alerts", "sample_shop", "runner")


def _list_exceptions() -> Iterator[type[BaseException]]:
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{room}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == module.name:
                    yield value


def test_whatever_a_user_may_see_is_in_the_tree_and_on_its_map() -> None:
    found = {each for each in _list_exceptions() if not each.__name__.startswith("_")}
    assert {each for each in found if not issubclass(each, FunnelhouseError)} == set()
    on_the_map = set(re.findall(r"\w+Error", errors.__doc__ or ""))
    assert on_the_map == {each.__name__ for each in found}


def test_nothing_catches_the_root_but_the_start_of_a_command() -> None:
    catching = {
        path.relative_to(PROJECT_DIR).as_posix()
        for room in ROOMS
        for path in (PROJECT_DIR / room).rglob("*.py")
        if re.search(r"except \(?.*\bFunnelhouseError\b", path.read_text(encoding="utf-8"))
    }
    assert catching == {"foundation/command.py"}
