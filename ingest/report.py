"""What a load saw and did, as plain values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from ingest.printable import as_line

_LONGEST_NAME = 80  # of a column; shops and visitors name them


@dataclass(frozen=True)
class LoadedDay:
    """One day that was put into the lake."""

    event_date: str
    kind: str
    rows: int
    change: str  # new or rewritten


@dataclass(frozen=True)
class LoadReport:
    """What one load saw and did. Dates are YYYY-MM-DD."""

    source_uri: str
    days_seen: int
    days_unchanged: int
    events_loaded: int
    seconds: float
    days_loaded: list[LoadedDay] = field(default_factory=list)
    # table_name, event_date, file, row, column, reason, what_to_do, folder, is_new (false: known from an earlier run)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    impossible_names: list[str] = field(default_factory=list)
    ignored_files: int = 0
    forgotten_rows: int = 0  # of the days loaded
    # event_date, file, column, expected_type, exported_type, rows, first_row, kept_in
    uncast_values: list[dict[str, Any]] = field(default_factory=list)
    # one entry per distinct drift: first_date, last_date, days, unknown, missing, retyped
    schema_drift: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)

    def to_text(self) -> str:
        """A short summary to read."""
        lines = [
            f"{self.source_uri}: {_count(self.days_seen, 'day')} seen, {len(self.days_loaded)} loaded "
            f"({self.events_loaded:,} events), {self.days_unchanged} unchanged, in {self.seconds:.1f} s"
        ]
        for day in self.days_loaded[:10]:
            lines.append(f"  {day.event_date} {day.kind}: {day.rows:,} events, {day.change}")
        if len(self.days_loaded) > 10:
            last = self.days_loaded[-1]
            lines.append(f"  … and {len(self.days_loaded) - 10} more, the last of them {last.event_date} {last.kind}")
        for problem in self.quarantined:
            known = "" if problem["is_new"] else " (unchanged since an earlier run)"
            lines.append(f"  QUARANTINED {problem['file']}: {problem['reason']}{known}; {problem['what_to_do']}")
            if problem["folder"]:
                lines.append(f"    see {problem['folder']}")
        for values in self.uncast_values:
            lines.append(
                f"  {values['file']}: {_count(values['rows'], 'row')} with a {values['column']} that is not a "
                f"{values['expected_type']} (first: row {values['first_row']}); null there, kept in {values['kept_in']}"
            )
        lines.extend(f"  NOT LOADED {message}" for message in self.impossible_names)
        for drift in self.schema_drift:
            span = drift["first_date"] if drift["days"] == 1 else f"{drift['first_date']} … {drift['last_date']}"
            parts = [_list_columns(what, drift[what]) for what in ("unknown", "missing", "retyped") if drift[what]]
            lines.append(f"  {span}: {'; '.join(parts)}")
        if self.forgotten_rows:
            lines.append(f"  {_count(self.forgotten_rows, 'row')} of forgotten people left out")
        if self.ignored_files:
            lines.append(f"  {_count(self.ignored_files, 'other file')} ignored")
        return "\n".join(lines)


def _list_columns(what: str, columns: Collection[str]) -> str:
    names = ", ".join(as_line(name, _LONGEST_NAME) for name in sorted(columns)[:4])
    return f"{_count(len(columns), 'column')} {what} ({names}{', …' if len(columns) > 4 else ''})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
