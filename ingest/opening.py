"""Opens the export that the settings point at."""

from __future__ import annotations

from foundation.settings import Settings
from ingest.files import FileSource
from ingest.source import ExportSource


def open_source(settings: Settings, *, progress: bool = False) -> ExportSource:
    """The export that the settings point at; raises SourceError for a URI that nothing answers to."""
    if settings.export_uri.startswith("bigquery://"):
        from ingest.bigquery import BigQuerySource  # Google's client takes a second to import

        return BigQuerySource(settings, progress=progress)
    return FileSource(settings.export_uri)
