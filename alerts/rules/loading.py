"""Reads the rules from YAML; its errors name the file and the line."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from alerts.rules.book import RuleBook, RulesError
from foundation.yaml_file import YamlFile, YamlFileError


def load_rules(path: Path) -> RuleBook:
    """Read and validate the rules; raises `RulesError` with one `file:line: problem` per line."""
    file = _read(path)
    if not isinstance(file.values, dict):
        raise RulesError(f"{path}:1: expected a mapping with the key 'rules'")
    try:
        return RuleBook.model_validate(file.values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            context = problem.get("ctx", {})
            at_fault = [context[key] for key in ("field", "part") if problem["type"] == "rule" and context[key]]
            location = (*problem["loc"], *at_fault)
            place = ".".join(str(part) for part in location) or "rules"
            lines.append(f"{path}:{file.line_of(location)}: {place}: {_say(problem['msg'])}")
        raise RulesError("\n".join(lines)) from error


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
