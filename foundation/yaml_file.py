"""Reads a YAML file that people write: problems are told by file and line, within a second, whatever is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from foundation.errors import FunnelhouseError

MOST_BYTES = 1_000_000
MOST_DEPTH = 50
MOST_VALUES = 50_000  # aliases written out
MOST_DIGITS = 300
# ten times as fast, where PyYAML was built with it
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlFileError(FunnelhouseError):
    """A file cannot be used; every line of the message starts with `file:line:`."""

    prefix = ""


class YamlFile:
    """A YAML file: its `values`, and where each of them stands.

    Raises `YamlFileError` for what is no YAML, a key that is given twice, a value that refers to itself, and values
    that are too many, nested too deeply or impossible (the 31st of February, a number of thousands of digits).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _read_text(path)
        try:
            if (deepest := _find_depth_problem(text)) is not None:
                raise YamlFileError(f"{path}:{deepest}: nested more than {MOST_DEPTH} levels deep")
            loader = _Loader(text)
            try:
                self._root: yaml.Node | None = loader.get_single_node()
                problems = [] if self._root is None else _find_problems(loader, self._root)
                if problems:
                    raise YamlFileError("\n".join(f"{path}:{line}: {message}" for line, message in sorted(problems)))
                self.values: Any = None if self._root is None else loader.construct_document(self._root)
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            raise YamlFileError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from error
        except yaml.YAMLError as error:
            raise YamlFileError(f"{path}:1: not valid YAML: {str(error).splitlines()[0]}") from error

    def line_of(self, location: tuple[int | str, ...]) -> int:
        """The line (from 1) of the deepest part of `location` that exists: of the key for mappings, of the item for
        lists."""
        node, line = self._root, 1
        for part in (None, *location):
            if part is not None:
                found: yaml.Node | None = None
                if isinstance(node, yaml.MappingNode):
                    for key, value in node.value:
                        if key.value == part:
                            line, found = _line_of(key), value
                elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                    found = node.value[part]
                    line = _line_of(found)
                node = found
            if node is None:
                break
            if part is None:
                line = _line_of(node)
        return line


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise YamlFileError(f"{path}:1: it is larger than {MOST_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise YamlFileError(f"{path}:1: it cannot be read ({error})") from error


def _find_problems(loader: Any, root: yaml.Node) -> list[tuple[int, str]]:
    """What the nodes hold that no file needs, by line; a node is measured once, however often it occurs."""
    problems: list[tuple[int, str]] = []
    sizes: dict[int, int] = {}
    on_the_way: set[int] = set()

    def measure(node: yaml.Node) -> int:
        line = _line_of(node)
        if id(node) in on_the_way:
            problems.append((line, "it refers to itself"))
            return 0
        if id(node) not in sizes:
            on_the_way.add(id(node))
            sizes[id(node)] = 1 + sum(map(measure, _list_below(node)))
            on_the_way.remove(id(node))
            problems.extend(_judge(loader, node))
        return sizes[id(node)]

    if measure(root) > MOST_VALUES:
        problems.append((_line_of(root), f"it has more than {MOST_VALUES:,} values with aliases expanded"))
    return problems


def _list_below(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _find_depth_problem(text: str) -> int | None:
    """The line at which values are nested too deeply; found by events, for nodes are composed by recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                return _line_of(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _judge(loader: Any, node: yaml.Node) -> list[tuple[int, str]]:
    """What is wrong with one node, by line."""
    line = _line_of(node)
    if isinstance(node, yaml.MappingNode):
        # PyYAML silently keeps the last of two equal keys, so a threshold could be overruled unnoticed.
        seen: set[str] = set()
        twice = []
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                twice.append((_line_of(key), f"the key '{key.value}' is given twice"))
            if isinstance(key.value, str):
                seen.add(key.value)
        return twice
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:str":
        return []
    if len(node.value) > MOST_DIGITS:
        return [(line, f"a value of {len(node.value):,} characters that is not text")]
    try:
        loader.construct_object(node)
    except (ValueError, OverflowError) as error:
        return [(line, f"{node.value!r} is impossible ({error})")]
    return []


def _line_of(part: Any) -> int:
    return int(part.start_mark.line) + 1
