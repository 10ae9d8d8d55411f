"""What a run prints at its end: a section of each room, and where to look further."""

from __future__ import annotations

from pathlib import Path

from expectations.summary import summarise_validation
from foundation.connect import open_published
from foundation.errors import NothingPublishedError
from foundation.settings import PROJECT_DIR, Settings
from foundation.state import read_rows
from ingest.summary import summarise_unloaded_files
from ml.jobs.summary import summarise_models, summarise_segments
from warehouse.summary import summarise_data, summarise_kpis


def summarise(settings: Settings) -> str:
    """The state of the shop as text, a section a subject."""
    try:
        with open_published(settings) as connection:
            sections = [
                [*summarise_data(connection, settings), *summarise_unloaded_files(settings)],
                summarise_kpis(connection),
                summarise_validation(connection),
                summarise_models(settings),
                summarise_segments(connection),
                [_alerts(settings)],
            ]
    except NothingPublishedError as error:
        sections = [[str(error)]]
    return "\n\n".join("\n".join(lines) for lines in [*sections, _look_further(settings)])


def _alerts(settings: Settings) -> str:
    rows = read_rows(
        settings,
        "alert_outbox",
        """
        select i.incident_id, i.title, i.status, i.first_seen_date, i.last_seen_date, o.status as delivery,
            (select count(*) from alert_incidents as folded where folded.folded_into = i.incident_id) as folded
        from alert_incidents as i
        left join alert_outbox as o on o.incident_id = i.incident_id and o.kind = 'parent' and o.channel = 'slack'
        where i.folded_into is null and i.incident_days > 0
        order by i.first_seen_date, i.incident_id
        """,
    )
    lines = [f"ALERTS  {len(rows)} incidents"]
    for row in rows:
        folded = f", with {row['folded']} more of its cause" if row["folded"] else ""
        lines.append(
            f"  {row['title']} {row['first_seen_date']} to {row['last_seen_date']}, {row['status']}{folded}"
            f" ({row['delivery']})"
        )
        message = settings.alerts_dir / row["incident_id"] / "message.txt"
        if row["delivery"] == "rendered" and message.exists():
            lines += [f"    | {line}" for line in message.read_text(encoding="utf-8").splitlines()]
            lines.append(f"    whole message and chart: {_shown(message.parent)}")
    if any(row["delivery"] == "rendered" for row in rows):
        lines.append(
            "  No Slack token is set: messages were rendered, not posted. README.md says how to connect Slack."
        )
    return "\n".join(lines)


def _look_further(settings: Settings) -> list[str]:
    database = settings.published_path
    return [
        "LOOK FURTHER",
        f'  warehouse   {_shown(database)}  (DuckDB; e.g. `make sql Q="from marts.agg_kpis_daily"`)',
        f"  data docs   {_shown(settings.docs_dir / 'data_docs' / 'index.html')}",
        f"  models      {_shown(settings.models_dir)}  (`make models`)",
        f"  logs        {_shown(settings.home / 'logs')}",
        "  `make docs` writes the documentation of every table; `make up` keeps Airflow running with its page",
    ]


def _shown(path: Path) -> str:
    """The path as one would type it from the project's folder."""
    return str(path.relative_to(PROJECT_DIR)) if path.is_relative_to(PROJECT_DIR) else str(path)
