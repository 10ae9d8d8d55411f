"""What ingestion could not load, for the summary of a run."""

from __future__ import annotations

from foundation.settings import Settings
from foundation.state import read_rows


def summarise_unloaded_files(settings: Settings) -> list[str]:
    """The files that are in quarantine now, each with the reason and what to do."""
    rows = read_rows(
        settings, "quarantined_files", "select * from quarantined_files where resolved_at is null order by file_name"
    )
    return [f"    file not loaded: {row['file_name']}: {row['reason']}; {row['what_to_do']}" for row in rows]
