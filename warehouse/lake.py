"""The lake's layout: one folder per event date, holding Parquet files and the manifest that vouches for them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from foundation.errors import FunnelhouseError
from foundation.settings import Settings
from foundation.state import read_rows

MANIFEST_NAME = "_manifest.json"
PARTITION_PREFIX = "event_date="
_JSON_SUFFIXES = (".json", ".ndjson", ".jsonl")


class ManifestError(FunnelhouseError):
    """A manifest of the lake cannot be read; the message names it and says what to do."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source table. `size_bytes` and `modified_at` (ISO, UTC) let a run skip what has not changed."""

    name: str
    size_bytes: int
    modified_at: str | None
    etag: str | None
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What one partition of the lake holds and where it came from."""

    event_date: str  # YYYY-MM-DD, property time zone
    table_name: str  # events_20260801, events_fresh_20260801, events_intraday_20260801
    kind: str  # daily, fresh or intraday
    source_uri: str
    source_files: list[SourceFile]
    # sha256 over the sorted hashes of the source files, the loader's version and, if any, the number of forgotten rows
    content_hash: str
    row_count: int
    lake_files: list[str]
    loaded_at: str  # ISO, UTC
    unknown_columns: dict[str, str] = field(default_factory=dict)  # exported, not in the known schema: name -> type
    missing_columns: list[str] = field(default_factory=list)  # in the known schema, not exported
    retyped_columns: dict[str, str] = field(default_factory=dict)  # exported with another type: name -> that type
    forgotten_rows: int = 0  # exported, and left out because they were a forgotten person's
    flat_columns: dict[str, str] = field(default_factory=dict)  # of the files in `flat`: name -> version

    def to_json(self) -> str:
        """The manifest as it stands in the file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @property
    def is_from_json(self) -> bool:
        """True when the source files are newline-delimited JSON, which leaves nulls out."""
        return any(file.name.lower().removesuffix(".gz").endswith(_JSON_SUFFIXES) for file in self.source_files)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["source_files"] = [SourceFile(**file) for file in values["source_files"]]
        return cls(**values)


def partition_dir(settings: Settings, event_date: dt.date) -> Path:
    """The folder of one day."""
    return settings.lake_dir / f"{PARTITION_PREFIX}{event_date.isoformat()}"


def read_manifests(settings: Settings) -> dict[dt.date, Manifest]:
    """The manifests of all partitions, by date, oldest first.

    Raises ManifestError for one that cannot be read: without it nobody knows which rows its day has.
    """
    manifests: dict[dt.date, Manifest] = {}
    for path in sorted(settings.lake_dir.glob(f"{PARTITION_PREFIX}*/{MANIFEST_NAME}")):
        try:
            manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
            date = dt.date.fromisoformat(manifest.event_date)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestError(
                f"{path} cannot be read ({error or type(error).__name__}): delete the folder {path.parent} and run "
                "again, so that the day is loaded again from the export; if the export no longer has it, restore the "
                "file"
            ) from error
        manifests[date] = manifest
    return manifests


def carry_unknown_columns(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The manifests, oldest first, where a day of JSON has the unknown columns of the day before besides its own.

    JSON leaves nulls out: a column without a value all day, or a day without rows, does not say that a column is gone.
    """
    carried: list[Manifest] = []
    for manifest in manifests:
        if carried and manifest.is_from_json:
            unknown = {**carried[-1].unknown_columns, **manifest.unknown_columns}
            carried.append(replace(manifest, unknown_columns=unknown))
        else:
            carried.append(manifest)
    return carried


def list_unloaded_files(settings: Settings) -> list[str]:
    """The files that are in quarantine now, each with the reason and what to do; ingestion keeps their table."""
    rows = read_rows(
        settings, "quarantined_files", "select * from quarantined_files where resolved_at is null order by file_name"
    )
    return [f"{row['file_name']}: {row['reason']}; {row['what_to_do']}" for row in rows]
