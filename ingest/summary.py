"""What ingestion could not load, for the summary of a run."""

from __future__ import annotations

from foundation.settings import Settings
from warehouse.lake import list_unloaded_files


def summarise_unloaded_files(settings: Settings) -> list[str]:
    """The files that are in quarantine now, each with the reason and what to do."""
    return [f"    file not loaded: {line}" for line in list_unloaded_files(settings)]
