"""Reads the rules from YAML; its errors name the file and the line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from alerts.rules.book import RuleBook, RulesError
from foundation.yaml_file import YamlFile, YamlFileError


@dataclass(frozen=True)
class UsableRules:
    """The rules of a file that can be used; `problems` of the others, by name, as `file:line: …`."""

    book: RuleBook
    problems: dict[str, list[str]]


def load_rules(path: Path) -> RuleBook:
    """Read and validate the rules; raises `RulesError` with one `file:line: problem` per line."""
    usable = load_usable_rules(path)
    if usable.problems:
        raise RulesError("\n".join(line for lines in usable.problems.values() for line in lines))
    return usable.book


def load_usable_rules(path: Path) -> UsableRules:
    """Read the rules and leave out those that are wrong.

    Raises `RulesError` for a file that cannot be read, for mistakes outside of single rules, and where none is left.
    """
    file = _read(path)
    if not isinstance(file.values, dict):
        raise RulesError(f"{path}:1: expected a mapping with the key 'rules'")
    try:
        return UsableRules(RuleBook.model_validate(file.values), {})
    except ValidationError as error:
        problems = _list_problems(path, file, error)
    given = file.values.get("rules")
    rules: list[object] = given if isinstance(given, list) else []
    left = [rule for index, rule in enumerate(rules) if index not in problems]
    if None in problems or not left:
        raise RulesError("\n".join(line for lines in problems.values() for line in lines))
    named = {_name_rule(rules[index], index): lines for index, lines in problems.items() if index is not None}
    return UsableRules(RuleBook.model_validate({**file.values, "rules": left}), named)


def _list_problems(path: Path, file: YamlFile, error: ValidationError) -> dict[int | None, list[str]]:
    """What is wrong, by the place of the rule in the file; None: outside of single rules."""
    problems: dict[int | None, list[str]] = {}
    for problem in error.errors():
        context = problem.get("ctx", {})
        at_fault = [context[key] for key in ("field", "part") if problem["type"] == "rule" and context[key]]
        location = (*problem["loc"], *at_fault)
        place = ".".join(str(part) for part in location) or "rules"
        of_rule = location[1] if location[:1] == ("rules",) and len(location) > 1 else None
        line = f"{path}:{file.line_of(location)}: {place}: {_say(problem['msg'])}"
        problems.setdefault(of_rule if isinstance(of_rule, int) else None, []).append(line)
    return problems


def _name_rule(rule: object, index: int) -> str:
    name = rule.get("name") if isinstance(rule, dict) else None
    return name if isinstance(name, str) and name else f"number {index + 1}"


def line_of_rule(path: Path, name: str, field: str) -> int:
    """The line (from 1) where a rule's field stands, for errors found after validation."""
    file = _read(path)
    for index, rule in enumerate(file.values["rules"]):
        if rule["name"] == name:
            return file.line_of(("rules", index, field))
    return 1


def _read(path: Path) -> YamlFile:
    try:
        return YamlFile(path)
    except YamlFileError as error:
        raise RulesError(f"{error}" if path.exists() else f"{error}; see FUNNELHOUSE_ALERT_RULES") from error


def _say(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "unknown key")
