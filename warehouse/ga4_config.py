"""`ga4.yml`: what a property measures in its own words, and the columns that come of it.

Event parameters and user properties become columns of `fct_events`; session properties, user properties as of the
session and key events columns of `fct_sessions`; user properties at their latest columns of `dim_users`; key events
KPIs. Ingestion derives each from the lake, and a build makes the tables in `CUSTOM_TABLES` anew: nothing else hangs on
the file.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from foundation.errors import FunnelhouseError
from foundation.settings import Settings
from foundation.yaml_file import YamlFile, YamlFileError

# The tables that a change of the file makes anew, by their schema; so are all views, which cost nothing.
CUSTOM_TABLES = {
    "stg_ga4__custom_parameters": "staging",
    "int_session_properties": "intermediate",
    "int_user_properties": "intermediate",
    "parameter_misfits": "ops",
    "dim_users": "marts",
    "agg_kpis_daily": "marts",
    "agg_kpis_daily_by_dimension": "marts",
}
SQL_TYPES = {"text": "string", "integer": "bigint", "number": "double", "boolean": "boolean"}
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MOST_NAMES = 200  # of one kind; GA4 lets a property register 50 parameters and 25 user properties

ParameterType = Literal["text", "integer", "number", "boolean"]
Take = Literal["first", "last", "max", "any"]
Counting = Literal["once_per_event", "once_per_session"]


class Ga4ConfigError(FunnelhouseError):
    """`ga4.yml` cannot be used; every line of the message starts with `file:line:`."""

    prefix = ""


def check_column(name: str) -> str:
    """A name that a column can have in every engine without quotes."""
    if not _COLUMN.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a column: lower-case letters, digits and _ only, a letter first")
    if name in _reserved_words():
        raise ValueError(f"{name!r} is a word of SQL: give the column another name with 'as'")
    return name


def to_column(name: str) -> str:
    """A GA4 name in snake case: `planType` is `plan_type`."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def find_free_column(name: str, prefix: str, taken: Collection[str], settings: Settings) -> str:
    """A column that a GA4 name can have: in snake case; with the prefix where that is none, or is there already."""
    standing = {*taken, *_reserved_words()}.union(
        *(_columns_of(settings.dbt_project_dir, table) for table in ("fct_events", "fct_sessions", "dim_users"))
    )
    column = to_column(name)[:40]
    if not _COLUMN.fullmatch(column) or column in standing:
        column = f"{prefix}_{column}".strip("_")
    return next(free for free in chain([column], (f"{column}_{number}" for number in count(2))) if free not in standing)


ColumnName = Annotated[str, AfterValidator(check_column)]
Ga4Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    description: str = Field(default="", description="What it says, for those who query the column.")


class UserProperty(_Entry):
    """A user property, as the export names it."""

    name: Ga4Name = Field(description="Its name in the export, exactly.")
    type: ParameterType = Field(default="text", description="How its value is read.")
    column: ColumnName = Field(default="", alias="as", description="Name of the column; without it, in snake case.")

    def model_post_init(self, _: Any) -> None:
        """Name the column after the property where no other name is given."""
        if not self.column:
            object.__setattr__(self, "column", check_column(to_column(self.name)))


class EventParameter(UserProperty):
    """An event parameter, as the export names it."""

    events: tuple[Ga4Name, ...] = Field(default=(), description="The events that it is read from; without it, all.")


class SessionProperty(_Entry):
    """A value of a whole session, from an event parameter."""

    of: str = Field(description="The column of an event parameter.")
    take: Take = Field(
        description="Which of a session's values: the first, the last, the largest, or whether any is true."
    )
    column: ColumnName = Field(
        default="", alias="as", description="Name of the column; without it, such as first_plan."
    )

    def model_post_init(self, _: Any) -> None:
        """Name the column after what it takes of what, where no other name is given."""
        if not self.column:
            object.__setattr__(self, "column", check_column(f"{self.take}_{self.of}"))


class KeyEvent(_Entry):
    """An event that the shop counts as a success."""

    event: Ga4Name = Field(description="The name of the event.")
    column: ColumnName = Field(default="", alias="as", description="What its columns begin with; without it, its name.")
    counting: Counting = Field(default="once_per_event", description="Whether a session can have more than one.")
    value: float | str | None = Field(
        default=None, description="What each is worth in USD: a number, value_usd, or the column of an event parameter."
    )

    def model_post_init(self, _: Any) -> None:
        """Name the columns after the event where no other name is given."""
        if not self.column:
            object.__setattr__(self, "column", check_column(to_column(self.event)))

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a session, with their types."""
        found = {f"{self.column}_count": "bigint", f"has_{self.column}": "boolean"}
        return found | ({f"{self.column}_value_usd": "double"} if self.value is not None else {})


class Ga4Config(BaseModel):
    """A property's own words."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="ga4.yml of Funnelhouse")

    event_parameters: tuple[EventParameter, ...] = Field(default=(), max_length=_MOST_NAMES)
    user_properties: tuple[UserProperty, ...] = Field(default=(), max_length=_MOST_NAMES)
    session_properties: tuple[SessionProperty, ...] = Field(default=(), max_length=_MOST_NAMES)
    key_events: tuple[KeyEvent, ...] = Field(default=(), max_length=_MOST_NAMES)

    @property
    def event_columns(self) -> list[UserProperty]:
        """Everything that an event has: parameters and user properties."""
        return [*self.event_parameters, *self.user_properties]


def load_ga4_config(settings: Settings) -> Ga4Config:
    """Read and check the file that the settings name; a file that was emptied names nothing.

    Raises Ga4ConfigError with one `file:line: problem` per line.
    """
    path = settings.ga4_config
    try:
        stamp = path.stat()
    except OSError as error:
        raise Ga4ConfigError(f"{path}:1: it cannot be read ({error.strerror}); see FUNNELHOUSE_GA4_CONFIG") from error
    return _load(path, settings.dbt_project_dir, (stamp.st_mtime_ns, stamp.st_size))


@lru_cache(maxsize=8)
def _load(path: Path, project: Path, _: tuple[int, int]) -> Ga4Config:
    try:
        file = YamlFile(path)
    except YamlFileError as error:
        raise Ga4ConfigError(str(error)) from error
    values = {} if file.values is None else file.values
    if not isinstance(values, dict):
        raise Ga4ConfigError(f"{path}:1: expected {', '.join(Ga4Config.model_fields)}, each with a list")
    # a key without a list under it is an empty list
    values = {key: [] if value is None and key in Ga4Config.model_fields else value for key, value in values.items()}
    try:
        config = Ga4Config.model_validate(values)
    except ValidationError as error:
        problems = [(tuple(problem["loc"]), _say(problem)) for problem in error.errors()]
    else:
        problems = list(_find_contradictions(config, project))
    if problems:
        told = sorted({(file.line_of(_as_written(place)), message) for place, message in problems})
        raise Ga4ConfigError("\n".join(f"{path}:{line}: {message}" for line, message in told))
    return config


def custom_vars(config: Ga4Config) -> dict[str, Any]:
    """The file in the form in which dbt gets it, as the var `custom`."""
    types = {entry.column: entry.type for entry in config.event_columns}
    return {
        "event_columns": [
            {
                "name": entry.column,
                "type": entry.type,
                "data_type": SQL_TYPES[entry.type],
                "source": flat_name(entry),
                "misfit": flat_name(entry, "misfit") if entry.type != "text" else None,
                "events": list(getattr(entry, "events", ())),
                "is_user_property": not isinstance(entry, EventParameter),
                "ga4_name": entry.name,
                "description": entry.description or f"{_kind_of(entry)} {entry.name}.",
            }
            for entry in config.event_columns
        ],
        "session_properties": [
            {
                "name": entry.column,
                "of": entry.of,
                "take": entry.take,
                "type": types[entry.of],
                "data_type": SQL_TYPES[types[entry.of]],
                "description": entry.description or f"The {entry.take} value of {entry.of} in the session.",
            }
            for entry in config.session_properties
        ],
        "key_events": [
            {
                "name": entry.column,
                "event": entry.event,
                "is_once": entry.counting == "once_per_session",
                "value": entry.value,
                "description": entry.description or f"Key event {entry.event}",
            }
            for entry in config.key_events
        ],
    }


def custom_fingerprint(settings: Settings) -> str:
    """A hash of what the custom columns are made from: another one means that `CUSTOM_TABLES` are made anew."""
    text = json.dumps(custom_vars(load_ga4_config(settings)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def flat_name(entry: UserProperty, form: str | None = None) -> str:
    """The column of the flat lake that holds an entry, or what of it does not fit its type."""
    kind = "event_parameter" if isinstance(entry, EventParameter) else "user_property"
    return f"{kind}.{entry.name}__{form or entry.type}"


def render_json_schema() -> str:
    """The JSON Schema of the file, for editors."""
    return json.dumps(Ga4Config.model_json_schema(by_alias=True), indent=2) + "\n"


def _kind_of(entry: UserProperty) -> str:
    return "Event parameter" if isinstance(entry, EventParameter) else "User property"


def _find_contradictions(config: Ga4Config, project: Path) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """What each entry alone cannot tell: names that meet, and references to what there is not."""
    event_columns = {entry.column: entry.type for entry in config.event_parameters}
    for index, session_property in enumerate(config.session_properties):
        if session_property.of not in event_columns:
            yield (
                ("session_properties", index, "of"),
                f"{session_property.of!r} is no column of event_parameters"
                f"{_suggest(session_property.of, event_columns)}",
            )
        elif session_property.take == "any" and event_columns[session_property.of] != "boolean":
            yield (
                ("session_properties", index, "take"),
                f"any is for a boolean, and {session_property.of!r} is a {event_columns[session_property.of]}",
            )
    numbers = [column for column, kind in event_columns.items() if kind in ("integer", "number")]
    for index, key_event in enumerate(config.key_events):
        if isinstance(key_event.value, str) and key_event.value not in {*numbers, "value_usd"}:
            yield (
                ("key_events", index, "value"),
                f"{key_event.value!r} is no number, nor value_usd, nor a column of event_parameters that holds numbers"
                f"{_suggest(key_event.value, [*numbers, 'value_usd'])}",
            )
    of_events = [*_placed("event_parameters", config), *_placed("user_properties", config)]
    key_events = [
        (("key_events", index), name) for index, entry in enumerate(config.key_events) for name in entry.columns
    ]
    kpis = [
        (("key_events", index), f"{entry.column}_{kpi}")
        for index, entry in enumerate(config.key_events)
        for kpi in ("count", "rate", "value_usd")
    ]
    yield from _find_clashes(kpis, _columns_of(project, "agg_kpis_daily"), "agg_kpis_daily")
    of_sessions = [*_placed("session_properties", config), *_placed("user_properties", config), *key_events]
    yield from _find_clashes(of_events, _columns_of(project, "fct_events"), "fct_events")
    yield from _find_clashes(of_sessions, _columns_of(project, "fct_sessions"), "fct_sessions")
    yield from _find_clashes(_placed("user_properties", config), _columns_of(project, "dim_users"), "dim_users")


def _placed(part: str, config: Ga4Config) -> list[tuple[tuple[int | str, ...], str]]:
    return [((part, index), entry.column) for index, entry in enumerate(getattr(config, part))]


def _find_clashes(
    wanted: Iterable[tuple[tuple[int | str, ...], str]], standing: frozenset[str], table: str
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    seen: set[str] = set()
    for place, name in wanted:
        if name in standing:
            yield place, f"{table} has a column {name!r} already: give this one another name with 'as'"
        elif name in seen:
            yield place, f"{table} would have two columns {name!r}: give this one another name with 'as'"
        seen.add(name)


@lru_cache(maxsize=16)
def _columns_of(project: Path, model: str) -> frozenset[str]:
    (path,) = (project / "models" / "marts").rglob(f"{model}.yml")
    models = YamlFile(path).values["models"]
    return frozenset(column["name"] for each in models if each["name"] == model for column in each["columns"])


@lru_cache(maxsize=1)
def _reserved_words() -> frozenset[str]:
    rows = duckdb.execute("select keyword_name from duckdb_keywords() where keyword_category = 'reserved'").fetchall()
    return frozenset(name for (name,) in rows)


def _as_written(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple("as" if part == "column" else part for part in place)


def _say(problem: Any) -> str:
    place = tuple(problem["loc"])
    label = ".".join(str(part) for part in place)
    if problem["type"] == "extra_forbidden":
        fields: Iterable[str] = Ga4Config.model_fields
        if len(place) > 1:
            entry = Ga4Config.model_fields[str(place[0])].annotation.__args__[0]  # type: ignore[union-attr]
            fields = [field.alias or name for name, field in entry.model_fields.items()]
        return f"{label}: unknown key{_suggest(str(place[-1]), fields)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    expected = re.findall(r"'([^']+)'", message) if problem["type"] == "literal_error" else []
    return f"{label}: {message}{_suggest(given, expected) if isinstance(given, str) else ''}"


def _suggest(given: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(given, known, n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else ""
