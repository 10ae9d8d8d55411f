"""An export in a folder or an object store: list its tables, fetch their files."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import re
import stat
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec

from ingest.names import ImpossibleNameError, Kind, is_data_file, parse_file_name
from ingest.source import FetchError, ListedFile, Listing, SourceError, SourceTable
from warehouse.lake import SourceFile

logger = logging.getLogger(__name__)

SUPPORTED_SOURCES = (
    "a local folder, s3://bucket/prefix, gs://bucket/prefix, bigquery://project.dataset or another fsspec URI"
)
_CHUNK_BYTES = 8 * 2**20
_FETCH_ATTEMPTS = 3
_MODIFIED_KEYS = ("LastModified", "mtime", "updated", "last_modified", "modified", "created")


class FileSource:
    """An export below one fsspec URI. Credentials and endpoints come from the store's usual environment."""

    def __init__(self, uri: str) -> None:
        """Raises SourceError for a URI that no filesystem answers to, or that names no bucket."""
        self.uri = redact_uri(uri)
        self._secrets = _userinfo_of(uri)
        scheme = uri.partition("://")[0] if "://" in uri else "file"
        if scheme in {"gs", "gcs", "s3", "s3a"} and not uri.partition("://")[2].strip("/"):
            # Otherwise every bucket of the account would be listed, or asked for until a timeout.
            raise SourceError(f"{self.uri} names no bucket; set FUNNELHOUSE_SOURCE to {scheme}://bucket/prefix")
        if scheme in {"gs", "gcs"}:
            # It prints a traceback of every error that it then raises.
            logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
            # Otherwise gcsfs asks another API, over gRPC, what kind of bucket it is, before it reads each of them.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        try:
            self._fs, root = fsspec.url_to_fs(uri, skip_instance_cache=True, use_listings_cache=False)
        except Exception as error:  # unknown scheme, client not installed, or a store that is asked already here
            raise SourceError(
                f"cannot open {self.uri}: {self._redact(error)}; set FUNNELHOUSE_SOURCE to {SUPPORTED_SOURCES}"
            ) from None
        self._root = root.rstrip("/")
        self._is_local = scheme in {"file", "local"}

    def list_tables(self) -> Listing:
        """List the events tables. Raises SourceError when the source is absent, unreachable or has no events table."""
        listed = self._find()
        files: dict[tuple[Kind, dt.date, str], list[ListedFile]] = {}
        ignored, impossible = 0, []
        for path, info in sorted(listed.items()):
            if info.get("type") == "directory":  # object stores can hold empty objects that stand for a folder
                continue
            relative = path.removeprefix(self._root).lstrip("/")
            if self._is_local and not _is_file(path):
                if is_data_file(relative):
                    impossible.append(f"{relative} is a pipe or a device, not a file; remove it")
                continue
            try:
                name = parse_file_name(relative)
            except ImpossibleNameError as error:
                impossible.append(str(error))
                continue
            if name is None:
                ignored += 1
                continue
            file = ListedFile(
                name=relative,
                path=path,
                form=name.form,
                is_gzipped=name.is_gzipped,
                delivery=name.delivery,
                **self._facts(info),
            )
            files.setdefault((name.kind, name.event_date, name.table_name), []).append(file)
        tables = [
            SourceTable(name=table_name, kind=kind, event_date=event_date, files=tuple(sorted(group, key=_by_name)))
            for (kind, event_date, table_name), group in files.items()
        ]
        if not tables:
            seen = f"{ignored + len(impossible)} other files" if ignored or impossible else "no files at all"
            detail = f" First: {impossible[0]}." if impossible else ""
            raise SourceError(
                f"{self.uri} holds {seen} and no GA4 events table.{detail} Point FUNNELHOUSE_SOURCE at the folder or "
                "prefix that directly contains events_YYYYMMDD.parquet, .json or .json.gz files (or folders of that "
                "name)"
            )
        return Listing(
            tables=tuple(sorted(tables, key=lambda table: (table.event_date, table.name))),
            ignored_files=ignored,
            impossible_names=tuple(impossible),
        )

    def fetch(self, file: ListedFile, target: Path) -> SourceFile:
        """Stream one file to `target`, hashing on the way.

        A file that changes while it is read is read again. Raises FetchError, which names the file, when it cannot be
        had after three attempts.
        """
        reason = ""
        for attempt in range(_FETCH_ATTEMPTS):
            if attempt:
                time.sleep(0.2 * 2**attempt)
            try:
                before = self._facts(self._fs.info(file.path))
                sha256, size = self._stream(file.path, target)
                after = self._facts(self._fs.info(file.path))
            except FileNotFoundError:
                raise FetchError(file.name, "vanished from the source after it had been listed") from None
            except Exception as error:  # every store raises errors of its own
                reason = self._redact(error)
                logger.warning("%s: attempt %d to fetch failed: %s", file.name, attempt + 1, reason)
                continue
            if before == after and size == after["size_bytes"]:
                # Some stores tell the time of one object more coarsely than a listing does; the listing's is compared.
                is_as_listed = file.etag is not None and (file.size_bytes, file.etag) == (size, after["etag"])
                modified_at = file.modified_at if is_as_listed else after["modified_at"]
                return SourceFile(file.name, size, modified_at, after["etag"], sha256)
            reason = "it keeps changing while it is read"
        raise FetchError(file.name, f"could not be fetched: {reason}")

    def _stream(self, path: str, target: Path) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        options = {} if self._is_local else {"cache_type": "none"}
        with self._fs.open(path, "rb", **options) as stream, target.open("wb") as out:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
                size += len(chunk)
        return digest.hexdigest(), size

    def _find(self) -> dict[str, dict[str, Any]]:
        """Every file below the root with what the store says about it."""
        try:
            exists = Path(self._root).is_dir() if self._is_local else self._fs.exists(self._root)
            # Tables lie at most one folder deep; an object store lists a whole prefix faster than level by level.
            depth = 2 if self._is_local else None
            found: dict[str, dict[str, Any]] = self._fs.find(self._root, maxdepth=depth, detail=True) if exists else {}
        except FileNotFoundError:
            exists = False
        except Exception as error:  # every store raises errors of its own
            raise SourceError(
                f"cannot list {self.uri}: {self._redact(error)}; check the URI, the network and the credentials "
                "(for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; for Google: "
                "`gcloud auth application-default login` or GOOGLE_APPLICATION_CREDENTIALS, and the role Storage "
                "Object Viewer on the bucket)"
            ) from None
        if not exists:
            raise SourceError(
                f"{self.uri} does not exist, is empty or is not a folder; set FUNNELHOUSE_SOURCE to {SUPPORTED_SOURCES}"
            )
        return found

    def _facts(self, info: dict[str, Any]) -> dict[str, Any]:
        modified = next((info[key] for key in _MODIFIED_KEYS if info.get(key) is not None), None)
        etag = info.get("ETag") or info.get("etag") or info.get("md5Hash")
        if self._is_local:
            # A copy can carry the old modification time along; the time of the inode's change cannot be set back.
            etag = f"ctime {_as_iso(info['created'])}"
        return {
            "size_bytes": int(info["size"]),
            "modified_at": None if modified is None else _as_iso(modified),
            "etag": None if etag is None else str(etag).strip('"'),
        }

    def _redact(self, error: Exception) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _is_file(path: str) -> bool:
    """Whether reading it will end; a link that leads nowhere is found out when it is fetched."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True


def redact_uri(uri: str) -> str:
    """The URI without user, password, query or fragment: fit for logs and manifests."""
    if "://" not in uri:
        return uri
    without_query = re.split(r"[?#]", uri, maxsplit=1)[0]
    return re.sub(r"://[^/]*@", "://", without_query)


def _userinfo_of(uri: str) -> list[str]:
    """The parts of a URI that no message may show, longest first."""
    if "://" not in uri:
        return []
    secrets = re.findall(r"://([^/]*)@", uri) + re.findall(r"[?#](.+)$", uri)
    parts = {part for secret in secrets for part in [secret, *secret.split(":")] if part}
    return sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True)


def _as_iso(moment: dt.datetime | float | str) -> str:
    if isinstance(moment, str):
        return moment
    if isinstance(moment, dt.datetime):
        return moment.astimezone(dt.UTC).isoformat()
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat()


def _by_name(file: ListedFile) -> str:
    return file.name
