"""What parameters and user properties the lake holds, and a proposal of how `ga4.yml` could name them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import duckdb
import yaml

from foundation.errors import FunnelhouseError
from foundation.quoting import quote_path
from foundation.settings import Settings
from ingest.engine import open_engine
from warehouse.flat import list_params
from warehouse.ga4_config import Ga4Config, ParameterType, find_free_column, load_ga4_config
from warehouse.lake import partition_dir, read_manifests

_EXAMPLE_LENGTH = 40
_EVENTS_SHOWN = 3
_PARTS = {"event_parameters": "event_params", "user_properties": "user_properties"}


class NoLakeError(FunnelhouseError):
    """There is no day in the lake whose parameters could be listed."""


class ProposalError(FunnelhouseError):
    """A proposal cannot be written where it was asked for."""


@dataclass(frozen=True)
class FoundParameter:
    """A parameter or user property of the lake's events."""

    part: str  # event_parameters or user_properties
    name: str
    rows: int
    share: float  # of all events
    type: ParameterType
    distinct_values: int  # about
    example: str  # a frequent value, cut
    events: list[str]  # that have it, by how often
    all_events: int  # how many have it
    status: str  # built in, in ga4.yml, or new


def list_parameters(settings: Settings, days: int) -> list[FoundParameter]:
    """The parameters and user properties of the newest `days` days of the lake, by how often they occur.

    Raises NoLakeError where nothing is loaded.
    """
    manifests = list(read_manifests(settings).values())[-days:]
    if not manifests:
        raise NoLakeError("nothing is loaded yet; run `python -m ingest` first")
    files = [
        partition_dir(settings, dt.date.fromisoformat(manifest.event_date)) / name
        for manifest in manifests
        for name in manifest.lake_files
    ]
    total = sum(manifest.row_count for manifest in manifests)
    config = load_ga4_config(settings)
    read_already = {("event_parameters", name) for name in list_params(settings)}
    with open_engine(settings) as connection:
        rows = [row for part, field in _PARTS.items() for row in _read(connection, part, field, files)]
    return [
        FoundParameter(
            part=part,
            name=name,
            rows=count,
            share=count / total,
            type=_choose_type(is_boolean=is_boolean, is_integer=is_integer, is_number=is_number),
            distinct_values=distinct,
            example=_shorten(example),
            events=[event for event in events[:_EVENTS_SHOWN] if event is not None],
            all_events=all_events,
            status=_status(part, name, config, read_already),
        )
        for part, name, count, is_boolean, is_integer, is_number, distinct, example, events, all_events in sorted(
            rows, key=lambda row: (row[0], -row[2], row[1])
        )
    ]


def describe_parameters(found: list[FoundParameter]) -> str:
    """A table for people."""
    rows = [
        [
            entry.name,
            "user property" if entry.part == "user_properties" else "parameter",
            entry.type,
            f"{entry.share:.1%}" if entry.share >= 0.001 else f"{entry.rows:,} rows",
            ", ".join(entry.events) + (" …" if entry.all_events > len(entry.events) else ""),
            entry.example,
            entry.status,
        ]
        for entry in found
    ]
    table = [["name", "what", "type", "of all events", "events", "example", "status"], *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)


def write_proposal(found: list[FoundParameter], path: Path, settings: Settings) -> None:
    """Write the proposal. Raises ProposalError for a file that is there already: it may be somebody's work."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(propose(found, settings))
    except OSError as error:
        raise ProposalError(f"{path} cannot be written ({error.strerror}); name a new file") from error


def propose(found: list[FoundParameter], settings: Settings) -> str:
    """YAML that names what neither staging reads nor `ga4.yml` has, to choose from."""
    lines = ["# Found in the lake and named nowhere. Move what you want into ga4.yml, and describe it there."]
    taken = {entry.column for entry in load_ga4_config(settings).event_columns}
    for part in _PARTS:
        new = [entry for entry in found if entry.part == part and entry.status == "new"]
        lines.append(f"{part}:" if new else f"{part}: []")
        for entry in new:
            values: dict[str, object] = {"name": entry.name}
            if entry.type != "text":
                values["type"] = entry.type
            column = find_free_column(entry.name, "user" if part == "user_properties" else "event", taken, settings)
            taken.add(column)
            if column != entry.name:
                values["as"] = column
            if part == "event_parameters" and entry.all_events == len(entry.events):
                values["events"] = sorted(entry.events)
            text = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=1000, allow_unicode=True)
            lines.append(f"  - {text.strip()}  # {entry.share:.1%} of events, for example {entry.example}")
    return "\n".join(lines) + "\n"


def _read(
    connection: duckdb.DuckDBPyConnection, part: str, field: str, files: list[Path]
) -> list[tuple[str, str, int, bool, bool, bool, int, str | None, list[str | None], int]]:
    listed = ", ".join(quote_path(file) for file in files)
    return connection.execute(
        f"""
        with entries as (
            select event_name, unnest({field}) as entry
            from read_parquet([{listed}], hive_partitioning = false)
        ),

        valued as (
            select
                event_name,
                entry.key as name,
                coalesce(
                    entry.value.string_value, cast(entry.value.int_value as varchar),
                    cast(entry.value.double_value as varchar), cast(entry.value.float_value as varchar)
                ) as value
            from entries
            where entry.key is not null
        )

        select
            '{part}', name, count(*),
            coalesce(bool_and(lower(value) in ('true', 'false')), false),
            coalesce(bool_and(try_cast(value as bigint) is not null and not contains(value, '.')), false),
            coalesce(bool_and(try_cast(value as double) is not null), false),
            approx_count_distinct(value), approx_top_k(value, 1)[1], approx_top_k(event_name, {_EVENTS_SHOWN}),
            count(distinct event_name)
        from valued
        group by name
        """
    ).fetchall()


def _choose_type(*, is_boolean: bool, is_integer: bool, is_number: bool) -> ParameterType:
    if is_boolean:
        return "boolean"
    if is_integer:
        return "integer"
    return "number" if is_number else "text"


def _status(part: str, name: str, config: Ga4Config, read_already: set[tuple[str, str]]) -> str:
    if name in {entry.name for entry in getattr(config, part)}:
        return "in ga4.yml"
    return "built in" if (part, name) in read_already else "new"


def _shorten(text: str | None) -> str:
    # a value may hold anything, and is shown in one line
    shown = "".join(character if character.isprintable() else " " for character in text or "")
    return shown if len(shown) <= _EXAMPLE_LENGTH else shown[: _EXAMPLE_LENGTH - 1] + "…"
