"""A stand-in for Google: sign-in, BigQuery's and Cloud Storage's REST calls, over HTTP on the loopback interface."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import duckdb
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PROJECT, DATASET = "shop-1234", "analytics_99"
_TYPES = {"varchar": "STRING", "bigint": "INTEGER", "double": "FLOAT", "boolean": "BOOLEAN"}


@dataclass
class Table:
    """A table of the dataset: its columns as BigQuery describes them, its rows as `{"f": [{"v": …}]}`."""

    columns: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    kind: str = "TABLE"
    modified_ms: int = 1_785_600_000_000
    is_streamed_into: bool = False
    created_ms: int = 1_785_500_000_000
    appended_at: list[dt.datetime] = field(default_factory=list)  # of the last rows; all others came at the creation

    def append(self, other: Table, at: dt.datetime) -> None:
        """Stream the rows of another table into this one."""
        self.rows += other.rows
        self.appended_at += [at] * len(other.rows)
        self.modified_ms = int(at.timestamp() * 1000)


@dataclass
class Fault:
    """What to answer instead, `times` over, to requests whose path and query match; status 0 hangs up."""

    pattern: str
    status: int
    reason: str
    times: int = 1
    message: str = "planted"
    body: bytes | None = None  # sent as it is, in the place of a described error


@dataclass
class GoogleServer:
    """What the server holds and what it was asked; `url` is where it listens."""

    url: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # bucket/name -> content
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    billed_to: set[str | None] = field(default_factory=set)
    most_rows_per_page: int = 1000
    before_page: Callable[[str, int], None] = lambda table, start: None
    may_query: bool = False  # whether the account may run queries
    polls_before_done: int = 0  # of each query
    queries: list[str] = field(default_factory=list)
    rows_queried: int = 0
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(re.search(pattern, request) is not None for request in self.requests)


@contextmanager
def serve_google() -> Iterator[GoogleServer]:
    """Run the server until the block ends."""
    google = GoogleServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, google))
    server.daemon_threads = True
    google.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield google
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read_table(query: str) -> Table:
    """A table with the rows of a DuckDB query; BigQuery has no null lists, so those become empty."""
    with duckdb.connect() as connection:
        relation = connection.sql(query)
        kinds = list(zip(relation.columns, relation.types, strict=True))
        rows = [
            {"f": [{"v": encode(value, kind)} for value, (_, kind) in zip(row, kinds, strict=True)]}
            for row in relation.fetchall()
        ]
    return Table([_describe(name, kind) for name, kind in kinds], rows)


def encode(value: Any, kind: Any) -> Any:
    """A value of a DuckDB type as tabledata.list sends it."""
    if kind.id == "list":
        return [{"v": encode(item, kind.children[0][1])} for item in value or []]
    if value is None:
        return None
    if kind.id == "struct":
        return {"f": [{"v": encode(value[name], inner)} for name, inner in kind.children]}
    if kind.id == "boolean":
        return str(value).lower()
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), str(value))


def _describe(name: str, kind: Any, mode: str = "NULLABLE") -> dict[str, Any]:
    if kind.id == "list":
        return _describe(name, kind.children[0][1], "REPEATED")
    if kind.id == "struct":
        fields = [_describe(inner_name, inner) for inner_name, inner in kind.children]
        return {"name": name, "type": "RECORD", "mode": mode, "fields": fields}
    return {"name": name, "type": _TYPES[kind.id], "mode": mode}


@functools.cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password).decode()


def write_key_file(path: Path, google: GoogleServer) -> None:
    """A service account's key file whose tokens this server hands out."""
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": _private_key(),
        "client_email": f"loader@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{google.url}/token",
    }
    path.write_text(json.dumps(account), encoding="utf-8")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, google: GoogleServer, *arguments: Any) -> None:
        self.google = google
        super().__init__(*arguments)

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._has_failed():
            return
        if self.path == "/token":
            self._answer({"access_token": "token-1", "expires_in": 3600, "token_type": "Bearer"})
        elif self.path.partition("?")[0] == f"/bigquery/v2/projects/{PROJECT}/queries":
            self._begin_query(json.loads(body))
        else:
            self._fail(404, "notFound", self.path)

    def do_GET(self) -> None:
        self.google.requests.append(self.path)
        self.google.billed_to.add(self.headers.get("x-goog-user-project"))
        if self._has_failed():
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.startswith("/bigquery/v2/"):
            if self.headers.get("Authorization") != "Bearer token-1":
                self._fail(401, "authError", "Invalid Credentials")
                return
            self._answer_bigquery(url.path.removeprefix("/bigquery/v2/"), query)
        else:
            self._answer_storage(url.path, query)

    def _has_failed(self) -> bool:
        """Answer with the first fault that matches; False when none does."""
        for fault in self.google.faults:
            if fault.times and re.search(fault.pattern, self.path):
                fault.times -= 1
                if fault.status == 0:
                    self.close_connection = True
                elif fault.body is None:
                    self._fail(fault.status, fault.reason, fault.message)
                else:
                    self._send(fault.status, fault.body)
                return True
        return False

    def _answer_bigquery(self, path: str, query: dict[str, str]) -> None:
        if (job := re.fullmatch(rf"projects/{PROJECT}/queries/(job_\d+)", path)) is not None:
            assert query["location"] == "EU" and query["formatOptions.useInt64Timestamp"] == "True"
            polls = self.google.count(rf"/queries/{job[1]}\?")
            self._answer_results(job[1], int(query.get("pageToken", 0)), int(query["maxResults"]), polls=polls)
            return
        root = f"projects/{PROJECT}/datasets/{DATASET}/tables"
        if path != root and not path.startswith(root + "/"):
            self._fail(404, "notFound", f"Not found: Dataset {path.split('/tables')[0]}")
            return
        table_id, _, rest = path.removeprefix(root).strip("/").partition("/")
        if not table_id:
            names = sorted(self.google.tables)
            start = int(query.get("pageToken", 0))
            stop = start + 2  # pages of two, so that there are several
            self._answer(
                {
                    "tables": [
                        {"tableReference": _reference(name), "type": self.google.tables[name].kind}
                        for name in names[start:stop]
                    ],
                    **({"nextPageToken": str(stop)} if stop < len(names) else {}),
                }
            )
        elif table_id not in self.google.tables:
            self._fail(404, "notFound", f"Not found: Table {table_id}")
        elif rest == "data":
            assert query["formatOptions.useInt64Timestamp"] == "True"
            start = int(query.get("pageToken", 0))
            self.google.before_page(table_id, start)
            table = self.google.tables[table_id]
            stop = start + min(int(query["maxResults"]), self.google.most_rows_per_page)
            rows = table.rows[start:stop]
            self._answer(
                {
                    "totalRows": str(len(table.rows)),
                    **({"rows": rows} if rows else {}),
                    **({"pageToken": str(stop)} if stop < len(table.rows) else {}),
                }
            )
        else:
            table = self.google.tables[table_id]
            self._answer(
                {
                    "tableReference": _reference(table_id),
                    "type": table.kind,
                    "schema": {"fields": table.columns},
                    "numRows": str(0 if table.is_streamed_into else len(table.rows)),
                    "numBytes": str(100 * len(table.rows)),
                    "creationTime": str(table.created_ms),
                    "lastModifiedTime": str(table.modified_ms),
                    **({"streamingBuffer": {"estimatedRows": "1"}} if table.is_streamed_into else {}),
                }
            )

    def _begin_query(self, order: dict[str, Any]) -> None:
        """Run the one query that is known: rows appended to a table within a time."""
        assert order["useLegacySql"] is False and order["formatOptions"] == {"useInt64Timestamp": True}
        if not self.google.may_query:
            self._fail(403, "accessDenied", "Access Denied: User does not have bigquery.jobs.create permission")
            return
        found = re.fullmatch(
            rf"select (.+) from appends\(table `{PROJECT}\.{DATASET}\.(\w+)`, "
            r"(?:null|timestamp '([^']+)'), timestamp '([^']+)'\)",
            order["query"],
        )
        assert found is not None, order["query"]
        table = self.google.tables[found[2]]
        assert found[1] == ", ".join(f"`{column['name']}`" for column in table.columns)
        created = dt.datetime.fromtimestamp(table.created_ms / 1000, dt.UTC)
        times = [created] * (len(table.rows) - len(table.appended_at)) + table.appended_at
        begin = created if found[3] is None else dt.datetime.fromisoformat(found[3])
        end = dt.datetime.fromisoformat(found[4])
        job = f"job_{len(self.google.queries)}"
        self.google.queries.append(order["query"])
        self.google.results[job] = [row for row, at in zip(table.rows, times, strict=True) if begin <= at < end]
        self.google.rows_queried += len(self.google.results[job])
        self._answer_results(job, 0, int(order["maxResults"]), polls=0)

    def _answer_results(self, job: str, start: int, most: int, *, polls: int) -> None:
        reference = {"projectId": PROJECT, "jobId": job, "location": "EU"}
        if polls < self.google.polls_before_done:
            self._answer({"jobComplete": False, "jobReference": reference})
            return
        rows = self.google.results[job]
        stop = start + min(most, self.google.most_rows_per_page)
        self._answer(
            {
                "jobComplete": True,
                "jobReference": reference,
                **({"rows": rows[start:stop]} if rows[start:stop] else {}),
                **({"pageToken": str(stop)} if stop < len(rows) else {}),
            }
        )

    def _answer_storage(self, path: str, query: dict[str, str]) -> None:
        match = re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?", path)
        buckets = {name.partition("/")[0] for name in self.google.objects}
        if match is None or match[1] not in buckets:
            self._fail(404, "notFound", "The specified bucket does not exist.")
            return
        bucket, name = match[1], match[2] and unquote(match[2])
        if name is None and not path.endswith("/o"):
            self._answer({"kind": "storage#bucket", "name": bucket})
        elif name is None:
            prefix = f"{bucket}/{query.get('prefix', '')}"
            items = [
                _item(key, self.google.objects[key]) for key in sorted(self.google.objects) if key.startswith(prefix)
            ]
            start = int(query.get("pageToken", 0))
            stop = start + min(int(query.get("maxResults", 1000)), 2)
            more = {"nextPageToken": str(stop)} if stop < len(items) else {}
            self._answer({"kind": "storage#objects", "items": items[start:stop], **more})
        elif (content := self.google.objects.get(f"{bucket}/{name}")) is None:
            self._fail(404, "notFound", f"No such object: {bucket}/{name}")
        elif query.get("alt") == "media":
            self._send_range(content)
        else:
            self._answer(_item(f"{bucket}/{name}", content))

    def _send_range(self, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, content)
            return
        start, stop = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1) + 1
        self._send(206, content[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})

    def _answer(self, body: dict[str, Any]) -> None:
        self._send(200, json.dumps(body, separators=(",", ":")).encode())

    def _fail(self, status: int, reason: str, message: str) -> None:
        error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
        self._send(status, json.dumps({"error": error}).encode())

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _reference(table_id: str) -> dict[str, str]:
    return {"projectId": PROJECT, "datasetId": DATASET, "tableId": table_id}


def _item(key: str, content: bytes) -> dict[str, Any]:
    bucket, _, name = key.partition("/")
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(len(content)),
        "md5Hash": digest,
        "etag": f"{digest}/1",
        "generation": "1",
        "updated": "2026-08-09T00:00:00.000Z",
        "timeCreated": "2026-08-09T00:00:00.000Z",
    }
