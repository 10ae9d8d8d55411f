"""Which files and tables of an export are which events table, told from their names alone."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Literal

from foundation.errors import FunnelhouseError

Kind = Literal["daily", "fresh", "intraday"]
Form = Literal["parquet", "ndjson"]

# Best first: a daily table beats a fresh one, which beats an intraday one.
KINDS: tuple[Kind, ...] = ("daily", "fresh", "intraday")

_TABLE = r"events_(?:(?P<kind>fresh|intraday)_)?(?P<day>\d{8})"
_FORM = r"\.(?P<form>parquet|json|ndjson|jsonl)(?P<gzip>\.gz)?"
_TABLE_FOLDER = re.compile(_TABLE)
# BigQuery numbers shards with twelve digits in place of the `*` of the URI; `_`, `-` or nothing stands before them.
_TABLE_FILE = re.compile(_TABLE + r"(?P<shard>[_-]?\d{12}|[_-]\d{1,11})?" + _FORM, re.IGNORECASE)
# Events of before 2010 are none of GA4's. Where the day begins first, it is tomorrow's date already.
_FIRST_DATE = dt.date(2010, 1, 1)
_DAYS_AHEAD = 1
_ANY_FILE = re.compile(r"[^.].*" + _FORM, re.IGNORECASE)
_LOOKS_LIKE_A_TABLE = re.compile(r"events_(fresh_|intraday_)?\d")


@dataclass(frozen=True)
class TableFileName:
    """What the name of a data file says: its table, its form, and the delivery it is part of.

    Two files of one table with different `delivery` are two exports of the same rows, not two shards of one.
    """

    table_name: str
    kind: Kind
    event_date: dt.date
    form: Form
    is_gzipped: bool
    delivery: str


class ImpossibleNameError(FunnelhouseError):
    """The name looks like an events table, but no table can have it."""


def parse_file_name(relative_path: str) -> TableFileName | None:
    """Read a path below the export's root, such as `events_20260801.parquet` or `events_20260801/000.json.gz`.

    Returns None for files that are none of the export's business. Raises ImpossibleNameError for a name that looks
    like an events table and cannot be one (wrong date, a date before GA4 or in the future, unknown form).
    """
    folder, _, name = relative_path.rpartition("/")
    if folder:
        table = _TABLE_FOLDER.fullmatch(folder)
        if table is None:
            if "/" not in folder and _LOOKS_LIKE_A_TABLE.match(folder):
                raise ImpossibleNameError(_advise(relative_path))
            return None
        file = _ANY_FILE.fullmatch(name)
        if file is None:
            if not name.isprintable():
                raise ImpossibleNameError(
                    f"{relative_path!r} has a name with unprintable characters; rename or remove it"
                )
            return None
        layout = "folder"
    else:
        table = file = _TABLE_FILE.fullmatch(name)
        if table is None or file is None:
            if _LOOKS_LIKE_A_TABLE.match(name):
                raise ImpossibleNameError(_advise(relative_path))
            return None
        layout = "shards" if table["shard"] else "one file"
    kind, event_date = _read_table(table, relative_path)
    form: Form = "parquet" if file["form"].lower() == "parquet" else "ndjson"
    return TableFileName(
        table_name=name_table(kind, event_date),
        kind=kind,
        event_date=event_date,
        form=form,
        is_gzipped=file["gzip"] is not None,
        delivery=f"{layout}, {file['form'].lower()}{'.gz' if file['gzip'] else ''}",
    )


def is_data_file(relative_path: str) -> bool:
    """Whether a path is named like a file of an events table, possible or not."""
    try:
        return parse_file_name(relative_path) is not None
    except ImpossibleNameError:
        return True


def parse_table_name(name: str) -> tuple[Kind, dt.date] | None:
    """Kind and date of a table of a BigQuery dataset; None for a name that is none of the export's business.

    Raises ImpossibleNameError for a name that looks like an events table and cannot be one.
    """
    table = _TABLE_FOLDER.fullmatch(name)
    if table is None:
        if _LOOKS_LIKE_A_TABLE.match(name):
            raise ImpossibleNameError(
                f"{name} looks like an events table but is not one: expected events_YYYYMMDD, events_fresh_YYYYMMDD or "
                "events_intraday_YYYYMMDD; rename or remove it"
            )
        return None
    return _read_table(table, name)


def name_table(kind: Kind, event_date: dt.date) -> str:
    """The export's name of a table, for example `events_intraday_20260801`."""
    return f"events_{'' if kind == 'daily' else kind + '_'}{event_date:%Y%m%d}"


def is_in_the_future(event_date: dt.date) -> bool:
    """True for a date that has begun nowhere on earth."""
    return event_date > dt.datetime.now(dt.UTC).date() + dt.timedelta(days=_DAYS_AHEAD)


def _read_table(table: re.Match[str], where: str) -> tuple[Kind, dt.date]:
    try:
        event_date = dt.datetime.strptime(table["day"], "%Y%m%d").date()
    except ValueError as error:
        raise ImpossibleNameError(f"{where}: {table['day']} is not a date (YYYYMMDD); rename or remove it") from error
    if event_date < _FIRST_DATE or is_in_the_future(event_date):
        when = "in the future" if event_date >= _FIRST_DATE else f"before {_FIRST_DATE.year}, when there was no GA4"
        raise ImpossibleNameError(
            f"{where}: {event_date} is {when}; name it after the event_date of its rows, or remove it"
        )
    if table["kind"] is None:
        return "daily", event_date
    return ("fresh" if table["kind"].lower() == "fresh" else "intraday"), event_date


def _advise(path: str) -> str:
    shown = path if path.isprintable() else repr(path)
    return (
        f"{shown} looks like an events table but is not one: expected events_YYYYMMDD, events_fresh_YYYYMMDD or "
        "events_intraday_YYYYMMDD as .parquet, .json, .ndjson or .jsonl (each also .gz), optionally with a shard "
        "number, or a folder with such a name; rename or remove it"
    )
