"""What a run prints at its end: a section of each room, and where to look further."""

from __future__ import annotations

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
                [*summarise_data(connection), *summarise_unloaded_files(settings)],
                summarise_kpis(connection),
                summarise_validation(connection),
                summarise_models(settings),
                summarise_segments(connection),
                summarise_alerts(settings),
            ]
    except NothingPublishedError as error:
        sections = [[str(error)]]
    return "\n\n".join("\n".join(lines) for lines in [*sections, _look_further(settings)])


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
