"""The alert rules: what `alerts/rules.yml` may say."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from foundation.errors import FunnelhouseError

Direction = Literal["above", "below"]
Unit = Literal["share", "seconds", "usd", "count", "hours"]
Kind = Literal["kpi", "data_late", "data_missing", "validation_failed", "model_drift"]
Test = Literal["rate", "count", "amount", "log_mean"]
Cost = Literal["orders", "visits", "revenue"]
Hourly = Literal["carts", "checkouts", "sessions", "events", "revenue_usd"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class RulesError(FunnelhouseError):
    """The rules cannot be used; every line of the message starts with `file:line:`."""

    prefix = ""


class Bounds(BaseModel):
    """A bound per direction; None means no bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    above: Number | None = None
    below: Number | None = None

    def of(self, direction: Direction) -> float | None:
        """The bound of one direction."""
        return self.above if direction == "above" else self.below


def _wrong(field: str, message: str, part: str = "") -> PydanticCustomError:
    """An error of a whole rule that names the field at fault, so that its line can be found."""
    return PydanticCustomError("rule", "{message}", {"message": message, "field": field, "part": part})


class QuietHours(BaseModel):
    """A span of the day, property time zone, over midnight where `start` is later than `end`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: dt.time = Field(alias="from")
    end: dt.time = Field(alias="to")

    @field_validator("start", "end", mode="before")
    @classmethod
    def _is_quoted(cls, value: object) -> object:
        # Without quotes 22:00 is a number to YAML, 22 x 60, and would be taken for so many seconds.
        if not isinstance(value, str):
            raise ValueError(f'{value!r} is not a time of day: write it in quotes, such as "22:00"')
        return value


class ExpectedEvent(BaseModel):
    """Days on which a KPI is known to leave its usual path; both ends are included.

    `start` and `end` are dates, or month and day (`12-24`) for every year.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Line
    start: dt.date | Annotated[str, StringConstraints(pattern=r"^\d\d-\d\d$")] = Field(alias="from")
    end: dt.date | Annotated[str, StringConstraints(pattern=r"^\d\d-\d\d$")] = Field(alias="to")
    direction: Literal["above", "below", "both"] = "both"

    @model_validator(mode="after")
    def _is_a_span(self) -> ExpectedEvent:
        ends = (self.start, self.end)
        if isinstance(self.start, dt.date) and isinstance(self.end, dt.date):
            if self.end < self.start:
                raise ValueError(f"the event '{self.name}' ends before it begins")
            return self
        if any(isinstance(each, dt.date) for each in ends):
            raise ValueError(f"the event '{self.name}' needs two dates, or month and day (12-24) twice")
        for each in ends:
            try:
                dt.date.fromisoformat(f"2000-{each}")
            except ValueError as error:
                raise ValueError(f"the event '{self.name}' has '{each}', which is not a month and day") from error
        return self

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
    kpi: Name
    statistic: Name | None = None
    test: Test
    unit: Unit = "count"
    numerator: Name | None = None
    denominator: Name | None = None
    volume: Name | None = None
    numerator_label: Line = "sessions"
    impact: Cost | None = None
    direction: Literal["above", "below", "both"]
    dimensions: tuple[Name, ...] = ()
    hourly: Hourly | None = None
    z_limit: Annotated[float, Field(ge=2, le=10)] | None = 4.0
    z_limit_repeated: Annotated[float, Field(ge=1.5, le=10)] | None = 2.5
    z_limit_week: Annotated[float, Field(ge=2, le=10)] | None = 4.0
    minimum_change: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    absolute: Bounds = Bounds()
    relative: Bounds = Bounds()
    trailing_days: int = Field(default=84, ge=14, le=366)
    minimum_history_days: int = Field(default=14, ge=7)
    minimum_volume: float = Field(default=20, ge=0, allow_inf_nan=False)
    expected_by_hours: float = Field(default=36, gt=0, le=24 * 30)
    severity: Literal["info", "warning", "critical"]
    owner: Line
    channel: Line | None = None
    runbook: Line
    quiet_hours: QuietHours | None = None
    expected_events: tuple[ExpectedEvent, ...] = ()
    links: dict[Name, Line] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if not values.get("title") and isinstance(values.get("name"), str):
            values["title"] = values["name"].replace("_", " ").strip().capitalize() or "?"
        if values.get("kind", "kpi") != "kpi":
            unit = "hours" if values["kind"] == "data_late" else "count"
            values = {"kpi": values["kind"], "unit": unit, "test": "amount", "direction": "above", **values}
        elif "test" not in values:
            if values.get("unit", "count") == "share":
                values["test"] = "rate"
            elif values.get("denominator") is not None or values.get("statistic") is not None:
                values["test"] = "log_mean"
            else:
                values["test"] = "count" if values.get("unit", "count") == "count" else "amount"
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> Rule:
        if self.kind == "kpi":
            self._check_bounds()
            self._check_test()
        else:
            for field, is_given in (
                ("dimensions", bool(self.dimensions)),
                ("hourly", self.hourly is not None),
                ("direction", self.direction != "above"),
                ("absolute", self.absolute != Bounds()),
                ("relative", self.relative != Bounds()),
            ):
                if is_given:
                    raise _wrong(field, f"a rule of kind '{self.kind}' takes no {field}")
        if self.minimum_history_days > self.trailing_days:
            message = "minimum_history_days is greater than trailing_days: the rule could never be tested"
            raise _wrong("minimum_history_days", message)
        return self

    def _check_bounds(self) -> None:
        for direction in self.directions:
            bounds = (self.absolute.of(direction), self.relative.of(direction))
            if (self.z_limit, self.z_limit_repeated, self.z_limit_week, *bounds) == (None,) * 5:
                message = f"direction '{self.direction}' needs z_limit, absolute.{direction} or relative.{direction}"
                raise _wrong("direction", message)
        for field, given in (("absolute", self.absolute), ("relative", self.relative)):
            for direction in ("above", "below"):
                if given.of(direction) is not None and direction not in self.directions:
                    raise _wrong(
                        field, f"a bound '{direction}' is given, but direction is '{self.direction}'", direction
                    )
        if self.relative.above is not None and self.relative.above <= 0:
            message = "relative.above is a rise and must be greater than 0, for example 0.25 for +25 %"
            raise _wrong("relative", message, "above")
        if self.relative.below is not None and not -1 < self.relative.below < 0:
            message = "relative.below is a fall and must lie between -1 and 0, for example -0.35 for -35 %"
            raise _wrong("relative", message, "below")
        for direction in self.directions:
            value = self.absolute.of(direction)
            if value is not None and self.unit == "share" and not 0 <= value <= 1:
                message = f"unit 'share' runs from 0 to 1, but an absolute bound is {value:g}"
                raise _wrong("absolute", message, direction)
            if value is not None and self.unit != "share" and value < 0:
                message = f"an absolute bound is {value:g}, but unit '{self.unit}' is never negative"
                raise _wrong("absolute", message, direction)

    def _check_test(self) -> None:
        if (self.unit == "share") != (self.test == "rate"):
            message = f"test '{self.test}' does not fit unit '{self.unit}': 'rate' and 'share' go only with each other"
            raise _wrong("test", message)
        if self.test in ("rate", "log_mean") and self.denominator is None:
            message = f"test '{self.test}' needs a denominator: the column with the sessions behind each value"
            raise _wrong("denominator", message)
        for field in ("numerator", "denominator"):
            if self.test in ("count", "amount") and getattr(self, field) is not None:
                raise _wrong(field, f"test '{self.test}' is for totals and takes no {field}; see `volume`")
        if self.impact == "orders" and (self.test != "rate" or self.direction == "both"):
            message = "impact 'orders' needs a share and one direction: above counts lost orders, below orders"
            raise _wrong("impact", message)
        if self.hourly is not None:
            wanted = {"carts": "rate", "checkouts": "rate", "revenue_usd": "amount"}.get(self.hourly, "count")
            if self.test != wanted:
                raise _wrong("hourly", f"hourly '{self.hourly}' needs test '{wanted}', and this rule has '{self.test}'")
            if self.hourly_direction not in self.directions:
                message = f"hourly '{self.hourly}' finds what is missing: the direction is '{self.hourly_direction}'"
                raise _wrong("hourly", message)
        if self.statistic is not None and self.test != "log_mean":
            raise _wrong("statistic", "a statistic is a column of mean ln(1 + value) and needs test 'log_mean'")

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions that are tested."""
        if self.direction == "both":
            return ("above", "below")
        return (self.direction,)

    @property
    def hourly_direction(self) -> Direction:
        """Where the KPI goes when an hour brings too little: carts that are not bought are abandoned."""
        return "above" if self.hourly in ("carts", "checkouts") else "below"

    @property
    def columns(self) -> list[str]:
        """The columns of the KPI tables that the rule reads."""
        columns = (self.kpi, self.statistic, self.numerator, self.denominator, self.volume)
        return list(dict.fromkeys(column for column in columns if column is not None))

    def say_limits(self) -> list[str]:
        """What makes a day breach, in plain words."""
        if self.kind in ("data_late", "data_missing"):
            return [f"more than {self.expected_by_hours:g} hours after a day's end"]
        if self.kind != "kpi":
            return ["any failure" if self.kind == "validation_failed" else "any drift"]
        says = []
        if self.z_limit is not None:
            says.append(f"z beyond {self.z_limit:g}")
        if self.z_limit_repeated is not None:
            says.append(f"z beyond {self.z_limit_repeated:g} on 2 of 3 days")
        if self.z_limit_week is not None:
            says.append(f"7 days together beyond {self.z_limit_week:g}")
        for direction in self.directions:
            absolute, relative = self.absolute.of(direction), self.relative.of(direction)
            if absolute is not None:
                says.append(
                    f"{direction} {absolute * 100:g} %" if self.unit == "share" else f"{direction} {absolute:g}"
                )
            if relative is not None:
                says.append(f"{relative * 100:+g} %")
        return says


class RuleBook(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    check_last_days: int = Field(default=14, ge=1, le=366)
    expected_events: tuple[ExpectedEvent, ...] = ()
    rules: list[Rule] = Field(min_length=1)

    def find_event(self, rule: Rule, date: dt.date, direction: Direction) -> ExpectedEvent | None:
        """The event of the file or of the rule that explains a move of this day in this direction."""
        events = (*rule.expected_events, *self.expected_events)
        return next((event for event in events if event.covers(date, direction)), None)

    @model_validator(mode="after")
    def _names_are_unique(self) -> RuleBook:
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are named '{name}'")
        return self
