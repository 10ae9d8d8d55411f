"""What a run prints at its end: a section of each room, and where to look further."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import duckdb

from alerts.summary import summarise_alerts
from expectations.summary import summarise_validation
from foundation.connect import open_published
from foundation.errors import NothingPublishedError
from foundation.settings import Settings, show_path
from ingest.summary import summarise_unloaded_files
from ml.jobs.summary import summarise_models, summarise_segments
from warehouse.summary import summarise_data, summarise_kpis


def summarise(settings: Settings) -> str:
    """The state of the shop as text, a section a subject."""
    try:
        with open_published(settings) as connection:
            sections = [
                _read("DATA", lambda: [*summarise_data(connection), *summarise_unloaded_files(settings)]),
                _read("KPIS OF THE LAST DAYS", lambda: summarise_kpis(connection)),
                _read("VALIDATION", lambda: summarise_validation(connection)),
                _read("MODELS", lambda: summarise_models(connection, settings)),
                _read("SEGMENTS", lambda: summarise_segments(connection)),
                _read("ALERTS", lambda: summarise_alerts(settings)),
            ]
    except NothingPublishedError as error:
        sections = [[str(error)]]
    except duckdb.Error as error:
        path = show_path(settings.published_path)
        sections = [[f"{path} can't be opened ({_first_line(error)}); `make rebuild` makes it anew from the lake"]]
    return "\n\n".join("\n".join(lines) for lines in [*sections, _look_further(settings)])


def _read(title: str, summarise_subject: Callable[[], list[str]]) -> list[str]:
    """A section; what cannot be read, for example as an older Funnelhouse published it, leaves the others."""
    try:
        return summarise_subject()
    except (duckdb.Error, sqlite3.Error, OSError) as error:
        return [title, f"  can't be read ({_first_line(error)}); the next run may mend it, else `make rebuild`"]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _look_further(settings: Settings) -> list[str]:
    database = settings.published_path
    return [
        "LOOK FURTHER",
        f'  warehouse   {show_path(database)}  (DuckDB; e.g. `make sql Q="from marts.agg_kpis_daily"`)',
        f"  data docs   {show_path(settings.docs_dir / 'data_docs' / 'index.html')}",
        f"  models      {show_path(settings.models_dir)}  (`make models`)",
        f"  logs        {show_path(settings.home / 'logs')}",
        "  `make docs` writes the documentation of every table; `make up` keeps Airflow running with its UI",
    ]
