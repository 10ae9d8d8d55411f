"""What must hold when an export of odd files is loaded, whatever they hold."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import duckdb

from foundation.errors import FunnelhouseError
from foundation.settings import Settings
from ingest.job import load_changed_days
from ingest.place import staging_dir
from ingest.report import LoadReport
from tests.dbt_runner import build_and_publish
from tests.ingest.export_writer import canonical_columns, write_ndjson, write_parquet
from tests.ingest.fuzz_days import make_day, write_base
from warehouse.ga4_schema import EVENT_COLUMNS
from warehouse.lake import read_manifests

LONGEST_REASON = 1_500


@dataclass
class Outcome:
    """What became of each file of a batch, and which promises were broken."""

    states: dict[str, str] = field(default_factory=dict)  # name -> loaded, loaded with values kept beside, quarantined
    violations: list[str] = field(default_factory=list)


def check_batch(
    home: Path, files: dict[str, bytes], dates: list[dt.date], *, is_built: bool, before_load: Callable[[], object]
) -> Outcome:
    """Load the files between two good days, twice, into an empty lake, and check every promise.

    `before_load` is called before each load, which it may bound.
    """
    logging.disable(logging.WARNING)
    settings = _empty_home(home)
    good = [min(dates) - dt.timedelta(days=1), max(dates) + dt.timedelta(days=1)]
    export = home / "export"
    write_parquet(export / f"events_{good[0]:%Y%m%d}.parquet", make_day(good[0]))
    write_ndjson(export / f"events_{good[1]:%Y%m%d}.json.gz", make_day(good[1]))
    for name, content in files.items():
        (export / name).write_bytes(content)
    outcome = Outcome()
    try:
        before_load()
        report = load_changed_days(settings, progress=False)
        _check_report(settings, report, files, good, outcome)
        _check_lake(settings, report, good, outcome)
        lake = _hash_lake(settings)
        before_load()
        again = load_changed_days(settings, progress=False)
        _check_rerun(report, again, lake == _hash_lake(settings), outcome)
        if is_built and not outcome.violations:
            before_load()
            _build(settings, outcome)
    except Exception as error:  # whatever it is, a load must not end with it
        where = traceback.extract_tb(error.__traceback__)
        ours = [
            f"{Path(frame.filename).name}:{frame.lineno}" for frame in where if "site-packages" not in frame.filename
        ]
        outcome.violations.append(f"{type(error).__name__}: {str(error)[:300]!r} at {' '.join(ours[-3:])}")
    return outcome


def _empty_home(home: Path) -> Settings:
    settings = Settings(
        home=home, source=str(home / "export"), property_timezone="UTC", min_free_gb=0.0, duckdb_threads=1
    )
    for folder in (home / "export", home / "lake", settings.quarantine_dir):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (settings.published_path, settings.state_path):
        file.unlink(missing_ok=True)
    (home / "export").mkdir(parents=True)
    return settings


def _check_report(
    settings: Settings, report: LoadReport, files: dict[str, bytes], good: list[dt.date], outcome: Outcome
) -> None:
    loaded = {day.event_date for day in report.days_loaded}
    odd = {values["file"] for values in report.uncast_values}
    told = {problem["file"]: problem for problem in report.quarantined}
    for name in files:
        date = f"{name[7:11]}-{name[11:13]}-{name[13:15]}"
        if (date in loaded) == (name in told):
            outcome.violations.append(f"{name} is {'loaded and quarantined' if name in told else 'not accounted for'}")
        elif name in told:
            outcome.states[name] = "quarantined"
        else:
            outcome.states[name] = "loaded, odd values kept beside" if name in odd else "loaded"
    for date in good:
        if date.isoformat() not in loaded:
            outcome.violations.append(f"the good day {date} did not load")
    for problem in report.quarantined:
        for part in ("file", "reason", "what_to_do"):
            text = problem[part]
            if not text.strip() or not text.isprintable() or len(text) > LONGEST_REASON:
                outcome.violations.append(f"{part} of {problem['file']} is no printable line: {text[:200]!r}")
        if not (Path(problem["folder"]) / "reason.json").is_file():
            outcome.violations.append(f"{problem['file']} has no reason in quarantine")
    json.dumps(report.to_dict(), allow_nan=False).encode()
    for line in report.to_text().split("\n"):
        if not line.isprintable() or len(line) > 3 * LONGEST_REASON:
            outcome.violations.append(f"the summary has a line that is none: {line[:200]!r}")


def _check_lake(settings: Settings, report: LoadReport, good: list[dt.date], outcome: Outcome) -> None:
    manifests = read_manifests(settings).values()
    if [manifest.event_date for manifest in manifests] != [day.event_date for day in report.days_loaded]:
        outcome.violations.append("the lake holds other days than the report says")
    with duckdb.connect(config={"threads": 1}) as connection:
        for manifest in manifests:
            for name in manifest.lake_files:
                odd = _find_odd_column(connection, settings.lake_dir / f"event_date={manifest.event_date}" / name)
                if odd:
                    outcome.violations.append(f"{manifest.event_date}: {odd}")
        relation = (
            f"read_parquet('{settings.lake_dir}/event_date=*/*.parquet', hive_partitioning = false, filename = true, "
            "file_row_number = true)"
        )
        columns = ", ".join(EVENT_COLUMNS)
        # as the build reads it: the known columns of all days at once
        rows = connection.execute(
            f"select parse_filename(parse_dirpath(filename)), count(*), bit_xor(hash({columns})) from {relation} "
            "group by 1"
        ).fetchall()
        counts = {folder: count for folder, count, _ in rows}
        for manifest in manifests:
            if counts.get(f"event_date={manifest.event_date}", 0) != manifest.row_count:
                outcome.violations.append(f"{manifest.event_date} has other rows than its manifest says")
        for date in good:
            write_base(connection, date, settings.home)
            expected = connection.sql("from base").fetchall()
            day = f"filename like '%/event_date={date}/%'"
            if (
                connection.sql(f"select {columns} from {relation} where {day} order by file_row_number").fetchall()
                != expected
            ):
                outcome.violations.append(f"the good day {date} has other rows")
    left = [path for path in staging_dir(settings).rglob("*") if path.is_file()]
    if left:
        outcome.violations.append(f"{left[0].name} is left in staging")


def _find_odd_column(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """The first known column that is not where it belongs in a lake file, in its type; empty where all are."""
    described = connection.sql(f"from read_parquet('{path}', hive_partitioning = false)")
    found = [(name, str(dtype)) for name, dtype in zip(described.columns, described.types, strict=True)]
    for ours, theirs in zip_longest(_canonical(), found[: len(EVENT_COLUMNS)]):
        if ours != theirs:
            return f"{theirs} stands in place of {ours}"
    return ""


@cache
def _canonical() -> list[tuple[str, str]]:
    return canonical_columns()


def _check_rerun(report: LoadReport, again: LoadReport, is_same: bool, outcome: Outcome) -> None:
    if again.days_loaded or again.days_unchanged != len(report.days_loaded) or not is_same:
        outcome.violations.append("a second run changes the lake")

    def facts(quarantined: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [(problem["file"], problem["reason"], problem["what_to_do"]) for problem in quarantined]

    if facts(again.quarantined) != facts(report.quarantined):
        outcome.violations.append("a second run tells of other broken files")
    fetched_again = [problem["file"] for problem in again.quarantined if problem["is_new"]]
    if fetched_again:
        outcome.violations.append(f"{fetched_again[0]} is tried again though it has not changed")


def _build(settings: Settings, outcome: Outcome) -> None:
    try:
        build_and_publish(settings, full_rebuild=True)
    except FunnelhouseError as error:
        outcome.violations.append(f"the lake cannot be built: {str(error)[:400]!r}")


def _hash_lake(settings: Settings) -> dict[str, str]:
    return {
        str(path.relative_to(settings.lake_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(settings.lake_dir.rglob("*"))
        if path.is_file()
    }
