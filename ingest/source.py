"""The GA4 export, wherever it lies: what it holds, and the protocol by which it is listed and fetched."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foundation.errors import FunnelhouseError
from ingest.names import Form, Kind
from warehouse.lake import SourceFile


class SourceError(FunnelhouseError):
    """The export cannot be read at all; the message says what to do."""


class FetchError(FunnelhouseError):
    """One file of the export could not be fetched."""

    def __init__(
        self,
        file: str,
        reason: str,
        *,
        what_to_do: str = "check that the file exists and can be read",
        is_final: bool = False,
    ) -> None:
        """`is_final` says that trying again is of no use before the file changes."""
        super().__init__(f"{file} {reason}")
        self.file = file
        self.what_to_do = f"{what_to_do}; the next run " + ("picks up a new version" if is_final else "tries again")
        self.is_final = is_final


@dataclass(frozen=True)
class ListedFile:
    """One file, or table of BigQuery, as listed: enough to see, without fetching it, that it has not changed."""

    name: str  # below the root of the export
    path: str  # as the filesystem, or BigQuery, wants it
    form: Form
    is_gzipped: bool
    delivery: str
    size_bytes: int
    modified_at: str | None
    etag: str | None

    @property
    def fingerprint(self) -> tuple[str, int, str | None, str | None]:
        """Equal fingerprints mean equal content, unless the store tells neither time nor etag."""
        return (self.name, self.size_bytes, self.modified_at, self.etag)


@dataclass(frozen=True)
class SourceTable:
    """One events table of the export and its files, by name."""

    name: str
    kind: Kind
    event_date: dt.date
    files: tuple[ListedFile, ...]

    @property
    def fingerprint(self) -> list[tuple[str, int, str | None, str | None]]:
        """The fingerprints of all files."""
        return [file.fingerprint for file in self.files]

    @property
    def deliveries(self) -> list[str]:
        """The distinct deliveries of this table; more than one means that the same rows are there more than once."""
        return sorted({file.delivery for file in self.files})


@dataclass(frozen=True)
class Listing:
    """What the export holds now."""

    tables: tuple[SourceTable, ...]
    ignored_files: int
    impossible_names: tuple[str, ...]  # one message each


class ExportSource(Protocol):
    """An export: what it holds now, and each of its files on local disk."""

    uri: str

    def list_tables(self) -> Listing:
        """List the events tables. Raises SourceError when the source is absent, unreachable or has no events table."""
        ...

    def fetch(self, file: ListedFile, target: Path) -> SourceFile:
        """Bring one listed file to `target`, as it was at one moment, and say what it is.

        Raises FetchError, which names the file, when it cannot be had.
        """
        ...
