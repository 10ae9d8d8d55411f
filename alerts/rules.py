"""The alert rules: what `alerts/rules.yml` may say, and errors that name its file and line."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

Direction = Literal["above", "below"]
Unit = Literal["share", "seconds", "usd", "count", "hours", "score"]
Kind = Literal["kpi", "data_late", "data_missing", "validation_failed", "model_drift"]
Test = Literal["rate", "log_mean", "count", "none"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]

# What decides a verdict. Changing any of these tests the checked days anew; changing the owner does not.
_DECIDING_FIELDS = {
    "kpi",
    "numerator",
    "denominator",
    "direction",
    "absolute",
    "relative",
    "trailing_days",
    "minimum_volume",
    "minimum_history_days",
}


class RulesError(ValueError):
    """The rules cannot be used; every line of the message starts with `file:line:`."""


class Bounds(BaseModel):
    """A bound per direction; None means no bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    above: Number | None = None
    below: Number | None = None

    def of(self, direction: Direction) -> float | None:
        """The bound of one direction."""
        return self.above if direction == "above" else self.below


class QuietHours(BaseModel):
    """A span of the day, property time zone, over midnight where `start` is later than `end`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: dt.time = Field(alias="from")
    end: dt.time = Field(alias="to")


class ExpectedEvent(BaseModel):
    """Days on which a KPI is known to leave its usual path; both ends are included.

    `start` and `end` are dates, or month and day (`12-24`) for every year.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Line
    start: dt.date | Annotated[str, StringConstraints(pattern=r"^\d\d-\d\d$")] = Field(alias="from")
    end: dt.date | Annotated[str, StringConstraints(pattern=r"^\d\d-\d\d$")] = Field(alias="to")
    direction: Literal["above", "below", "both"] = "both"

    def covers(self, date: dt.date, direction: Direction) -> bool:
        """Whether the day is one of the event's and the event explains a move in this direction."""
        if self.direction not in ("both", direction):
            return False
        if isinstance(self.start, dt.date) and isinstance(self.end, dt.date):
            return self.start <= date <= self.end
        day = f"{date:%m-%d}"
        start, end = str(self.start), str(self.end)
        return start <= day <= end if start <= end else day >= start or day <= end


class Rule(BaseModel):
    """One thing that is watched. The fields are explained at the head of `alerts/rules.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    kind: Kind = "kpi"
    title: Line = ""
    description: Line
    kpi: Name = ""
    statistic: Name | None = None
    test: Test = "none"
    unit: Unit = "count"
    numerator: Name | None = None
    denominator: Name | None = None
    numerator_label: Line = "sessions"
    direction: Literal["above", "below", "both"] = "above"
    dimensions: tuple[Name, ...] = ()
    absolute: Bounds = Bounds()
    relative: Bounds = Bounds()
    trailing_days: int = Field(default=28, ge=7, le=366)
    minimum_history_days: int = Field(default=14, ge=1)
    minimum_volume: float = Field(default=20, ge=0, allow_inf_nan=False)
    severity: Literal["info", "warning", "critical"]
    owner: Line
    channel: Line | None = None
    runbook: Line
    quiet_hours: QuietHours | None = None
    expected_events: tuple[ExpectedEvent, ...] = ()
    links: dict[Name, Line] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _title_from_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("title") and isinstance(values.get("name"), str):
            return {**values, "title": values["name"].replace("_", " ").strip().capitalize() or "?"}
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> Rule:
        for direction in ("above", "below"):
            bounds = (self.absolute.of(direction), self.relative.of(direction))
            if direction in self.directions and bounds == (None, None):
                raise ValueError(f"direction '{self.direction}' needs absolute.{direction} or relative.{direction}")
            if direction not in self.directions and bounds != (None, None):
                raise ValueError(f"a bound '{direction}' is given, but direction is '{self.direction}'")
        if self.relative.above is not None and self.relative.above <= 0:
            raise ValueError("relative.above is a rise and must be greater than 0, for example 0.25 for +25 %")
        if self.relative.below is not None and not -1 < self.relative.below < 0:
            raise ValueError("relative.below is a fall and must lie between -1 and 0, for example -0.35 for -35 %")
        if self.unit == "share":
            for value in (self.absolute.above, self.absolute.below):
                if value is not None and not 0 <= value <= 1:
                    raise ValueError(f"unit 'share' runs from 0 to 1, but an absolute bound is {value:g}")
            if self.denominator is None:
                raise ValueError("unit 'share' needs a denominator: shares of days are pooled, not averaged")
        if self.numerator is not None and self.denominator is None:
            raise ValueError("a numerator needs a denominator")
        if self.minimum_history_days > self.trailing_days:
            raise ValueError("minimum_history_days is greater than trailing_days: the rule could never be tested")
        return self

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions that are tested."""
        if self.direction == "both":
            return ("above", "below")
        return (self.direction,)

    @property
    def columns(self) -> list[str]:
        """The columns of the KPI tables that the rule reads."""
        return [column for column in (self.kpi, self.numerator, self.denominator) if column is not None]

    @property
    def content_hash(self) -> str:
        """Changes when a verdict could change."""
        text = json.dumps(self.model_dump(include=_DECIDING_FIELDS), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def fingerprint(self, direction: Direction) -> str:
        """The identity of a problem; incidents of one fingerprint follow each other and never overlap."""
        return f"{self.name}|{direction}"


class RuleBook(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    check_last_days: int = Field(default=14, ge=1, le=366)
    rules: list[Rule] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> RuleBook:
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are named '{name}'")
        return self


def load_rules(path: Path) -> RuleBook:
    """Read and validate the rules; raises `RulesError` with one `file:line: problem` per line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}:1: the alert rules cannot be read ({error}); see FUNNELHOUSE_ALERT_RULES") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
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
            place = ".".join(str(part) for part in problem["loc"]) or "rules"
            lines.append(f"{path}:{_line_of(root, problem['loc'])}: {place}: {_say(problem['msg'])}")
        raise RulesError("\n".join(lines)) from error


def line_of_rule(path: Path, name: str, field: str) -> int:
    """The line (from 1) where a rule's field stands, for errors found after validation."""
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for index, rule in enumerate(yaml.safe_load(text)["rules"]):
        if root is not None and rule["name"] == name:
            return _line_of(root, ("rules", index, field))
    return 1


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
