"""Reads the rules from YAML; its errors name the file and the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from alerts.rules.book import RuleBook, RulesError


def load_rules(path: Path) -> RuleBook:
    """Read and validate the rules; raises `RulesError` with one `file:line: problem` per line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}:1: the alert rules cannot be read ({error}); see FUNNELHOUSE_ALERT_RULES") from error
    try:
        root, values = _parse(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RulesError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise RulesError(f"{path}:1: not valid YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise RulesError(f"{path}:1: expected a mapping with the key 'rules'")
    if problems := _find_repeated_keys(root, path):
        raise RulesError("\n".join(problems))
    try:
        return RuleBook.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            context = problem.get("ctx", {})
            at_fault = [context[key] for key in ("field", "part") if problem["type"] == "rule" and context[key]]
            location = (*problem["loc"], *at_fault)
            place = ".".join(str(part) for part in location) or "rules"
            lines.append(f"{path}:{_line_of(root, location)}: {place}: {_say(problem['msg'])}")
        raise RulesError("\n".join(lines)) from error


def line_of_rule(path: Path, name: str, field: str) -> int:
    """The line (from 1) where a rule's field stands, for errors found after validation."""
    root, values = _parse(path.read_text(encoding="utf-8"))
    for index, rule in enumerate(values["rules"]):
        if root is not None and rule["name"] == name:
            return _line_of(root, ("rules", index, field))
    return 1


def _parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The document as nodes, which know their lines, and as values."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _say(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "unknown key")


def _line_of(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that exists: of the key for mappings, of the item for lists."""
    line = node.start_mark.line + 1
    for part in location:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


def _find_repeated_keys(node: yaml.Node, path: Path) -> list[str]:
    # PyYAML silently keeps the last of two equal keys, so a threshold could be overruled unnoticed.
    problems: list[str] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key.value, str) and key.value in seen:
                problems.append(f"{path}:{key.start_mark.line + 1}: the key '{key.value}' is given twice")
            if isinstance(key.value, str):
                seen.add(key.value)
            problems += _find_repeated_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            problems += _find_repeated_keys(item, path)
    return problems
