"""The GA4 export in its BigQuery dataset: list its tables, read one into a Parquet file, page by page."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import re
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import (
    BadRequest,
    Forbidden,
    GatewayTimeout,
    GoogleAPICallError,
    NotFound,
    RetryError,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import bigquery
from numpy.typing import NDArray
from requests.exceptions import ContentDecodingError, RequestException
from tqdm import tqdm

from foundation.settings import Settings
from ingest.appended import Kept, KeptRows, describe_columns
from ingest.names import ImpossibleNameError, parse_table_name
from ingest.source import FetchError, ListedFile, Listing, SourceError, SourceTable
from warehouse.lake import SourceFile

logger = logging.getLogger(__name__)

_Parsed = TypeVar("_Parsed")

# A page is held as text and several times over while it is taken apart: about 140 KB a row at the peak.
_PAGE_ROWS = 2000
_PAGE_OPTIONS = {"maxResults": _PAGE_ROWS, "formatOptions.useInt64Timestamp": True}
_ROW_GROUP_BYTES = 32 * 2**20  # of Arrow buffers; what is written at once, and what a reader of the file holds at once
_LISTING_THREADS = 8
_FETCH_ATTEMPTS = 3
_SECONDS_PER_REQUEST = 120.0
_ROWS_PER_LOG_LINE = 250_000
# By then what was appended is there to be read, and the clocks of two machines agree.
_SETTLED_AFTER = dt.timedelta(minutes=2)
_QUERY_SECONDS = 300.0
_QUERY_WAIT_MS = 20_000


def _is_passing(error: Exception) -> bool:
    """True for rate limits, server errors, broken connections; what is forbidden or absent is not asked for again."""
    if isinstance(error, GatewayTimeout | ContentDecodingError):  # which Google's client does not ask for again
        return True
    if isinstance(error, GoogleAuthError) and error.retryable:  # of the server that signs in
        return True
    return bool(bigquery.DEFAULT_RETRY._predicate(error))


_RETRY = bigquery.DEFAULT_RETRY.with_predicate(_is_passing).with_delay(initial=0.5, maximum=30.0).with_timeout(300.0)
# For every request of a load in which one has failed for that long: an outage must not cost five minutes a table.
_SECONDS_AFTER_FAILURE = 15.0

_ROLE = "the role BigQuery Data Viewer (roles/bigquery.dataViewer)"
# What a view reads is not told by its modification time, and its rows cannot be listed without a query.
_READABLE_TYPES = {"TABLE", "SNAPSHOT", "CLONE"}

# https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list: every value comes as text. What is not named
# here stays text: JSON, GEOGRAPHY, INTERVAL, RANGE, and BIGNUMERIC, which no type of DuckDB holds.
_FROM_TEXT = {
    "INTEGER": "cast({} as bigint)",
    "INT64": "cast({} as bigint)",
    "FLOAT": "cast({} as double)",
    "FLOAT64": "cast({} as double)",
    "BOOLEAN": "cast({} as boolean)",
    "BOOL": "cast({} as boolean)",
    "NUMERIC": "cast({} as decimal(38, 9))",
    "BYTES": "from_base64({})",
    "DATE": "cast({} as date)",
    "TIME": "cast({} as time)",
    "DATETIME": "cast({} as timestamp)",
    "TIMESTAMP": "make_timestamp(cast({} as bigint))",  # microseconds since 1970, as asked for
}
_RECORDS = {"RECORD", "STRUCT"}


@dataclass(frozen=True)
class _State:
    """What BigQuery says of a table at one moment."""

    columns: Sequence[Any]  # bigquery.SchemaField
    created_at: str | None
    modified_at: str | None
    rows: int
    size_bytes: int
    is_streamed_into: bool

    @property
    def version(self) -> tuple[str | None, str | None, int, int]:
        """Equal versions mean that nothing was written between."""
        return (self.created_at, self.modified_at, self.rows, self.size_bytes)


class BigQuerySource:
    """An export in a dataset, `bigquery://project.dataset`, read with application-default credentials.

    It asks for metadata and rows only (tables.list, tables.get, tabledata.list): reading the dataset is the only
    permission needed. Of an intraday table it asks by a query for what was appended since the last time, if the account
    may run queries; else it reads the day again, since pages of rows have no order that could be gone on with.
    """

    def __init__(self, settings: Settings, *, progress: bool = False) -> None:
        """Raises SourceError for a URI that names no dataset, and where there are no credentials."""
        self.uri = settings.export_uri.rstrip("/")
        project, _, dataset = self.uri.removeprefix("bigquery://").rpartition(".")
        if not project or not re.fullmatch(r"[A-Za-z0-9_]+", dataset) or not re.fullmatch(r"[A-Za-z0-9.:_-]+", project):
            raise SourceError(
                f"{self.uri} names no dataset; set FUNNELHOUSE_SOURCE to bigquery://project.dataset, for example "
                "bigquery://my-shop-1234.analytics_123456789 (the dataset's name ends with the id of the GA4 property)"
            )
        self._dataset = bigquery.DatasetReference(project, dataset)
        self._progress = progress
        self._kept = KeptRows(settings.bigquery_dir)
        self._may_query = settings.bigquery_appends
        self._retry = _RETRY
        self._listed: tuple[str, ...] = ()
        self._may_read_some: bool | None = None  # None: has not mattered yet
        options = {
            "api_endpoint": settings.bigquery_endpoint,
            "quota_project_id": settings.bigquery_billing_project,
        }
        try:
            self._client = bigquery.Client(
                project=settings.bigquery_billing_project or project,
                client_options={name: value for name, value in options.items() if value},
            )
        except (DefaultCredentialsError, OSError, ValueError) as error:
            raise SourceError(
                f"cannot open {self.uri}: there are no usable Google credentials ({_first_line(error)}); run "
                "`gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a "
                f"service account that has {_ROLE} on the dataset"
            ) from None

    def list_tables(self) -> Listing:
        """List the events tables with their modification times, rows and bytes.

        A table that tells none of these is listed without: `fetch` will ask again, and say what is wrong. Raises
        SourceError when the dataset is absent, forbidden, unreachable or has no events table.
        """
        try:
            listed = list(self._list_names())
        except _ERRORS as error:
            raise self._explain(error) from None
        named, ignored, impossible = [], 0, []
        for table_id, table_type in listed:
            try:
                name = parse_table_name(table_id)
            except ImpossibleNameError as error:
                impossible.append(str(error))
                continue
            if name is None:
                ignored += 1
            elif table_type not in _READABLE_TYPES:
                impossible.append(
                    f"{table_id} is a {(table_type or 'thing unknown').lower()}, not a table; "
                    "write its rows into a table of that name"
                )
            else:
                named.append((table_id, *name))
        with ThreadPoolExecutor(_LISTING_THREADS) as threads:
            states = list(threads.map(lambda entry: self._list_state(entry[0]), named))
        failures = [state for state in states if isinstance(state, Exception)]
        if failures and not any(isinstance(state, _State) for state in states):
            raise self._explain(failures[0])
        tables = [
            SourceTable(name, kind, event_date, (self._describe(name, state if isinstance(state, _State) else None),))
            for (name, kind, event_date), state in zip(named, states, strict=True)
            if state is not None
        ]
        self._listed = tuple(table.name for table in tables)
        self._kept.forget_others(self._listed)
        if not tables:
            detail = f" First: {impossible[0]}." if impossible else ""
            raise SourceError(
                f"{self.uri} holds {ignored + len(impossible)} other tables and no GA4 events table (events_YYYYMMDD)."
                f"{detail} Point FUNNELHOUSE_SOURCE at the dataset that GA4's BigQuery link writes to (analytics_ and "
                "the id of the property); a new link delivers its first table within a day"
            )
        return Listing(
            tables=tuple(sorted(tables, key=lambda table: (table.event_date, table.name))),
            ignored_files=ignored,
            impossible_names=tuple(impossible),
        )

    def fetch(self, file: ListedFile, target: Path) -> SourceFile:
        """Read one table into the Parquet file `target`, a page at a time, hashing on the way.

        BigQuery promises no snapshot to a reader of pages, so a table that was written to meanwhile is read again; an
        intraday table that has only grown is taken as it was read, and compared again by the next run. Raises
        FetchError after three attempts, or when a request has failed for five minutes; SourceError where no
        table may be read, the quota is used up, or signing in fails.
        """
        reason = ""
        for attempt in range(_FETCH_ATTEMPTS):
            if attempt:
                logger.warning("%s: attempt %d to read failed: %s", file.name, attempt, reason)
                time.sleep(0.2 * 2**attempt)
            try:
                before = _require_columns(file.name, self._get_state(file.name))
                if (appended := self._fetch_appended(file, before, target)) is not None:
                    return appended
                try:
                    rows, sha256 = self._read(file.name, before, target)
                except duckdb.Error as error:
                    # columns that were changed meanwhile do not fit the rows either
                    if before.version == self._get_state(file.name).version:
                        raise _describe_misfit(file.name, error) from None
                    reason = "it keeps changing while it is read"
                    continue
                after = self._get_state(file.name)
            except NotFound:
                raise FetchError(file.name, "vanished from the dataset after it had been listed") from None
            except Forbidden as error:
                if _is_about_all_tables(error) or not self._may_read_another(file.name):
                    raise self._explain(error) from None
                raise FetchError(
                    file.name,
                    f"may not be read: {_first_line(error)}",
                    what_to_do=f"give the account {_ROLE} on the table",
                ) from None
            except _ERRORS as error:
                if _is_about_all_tables(error):
                    raise self._explain(error) from None
                reason = _first_line(error)
                if isinstance(error, RetryError):  # has been asked for long enough
                    break
                continue
            is_unchanged = before.version == after.version
            has_grown = before.created_at == after.created_at and before.rows <= after.rows
            if not is_unchanged and not ("_intraday_" in file.name and has_grown):
                reason = "it keeps changing while it is read"
            elif rows < before.rows or (rows > before.rows and is_unchanged and not before.is_streamed_into):
                # rows that are still in the streaming buffer are read, and not counted yet
                reason = f"{rows:,} rows arrived, {before.rows:,} expected"
            else:
                listed = self._describe(file.name, before)
                return SourceFile(file.name, listed.size_bytes, listed.modified_at, listed.etag, sha256)
        raise FetchError(file.name, f"could not be read: {reason}")

    def _list_names(self) -> Iterator[tuple[str, str | None]]:
        """Name and type of everything in the dataset."""
        parameters: dict[str, Any] = {"maxResults": 1000}
        while True:
            page = self._ask(f"{self._dataset.path}/tables", parameters, _parse_object)
            for item in page.get("tables", []):
                yield item["tableReference"]["tableId"], item.get("type")
            if not page.get("nextPageToken"):
                return
            parameters["pageToken"] = page["nextPageToken"]

    def _list_state(self, table_id: str) -> _State | Exception | None:
        """The state of a listed table, or why it cannot be told; None when the table is gone already."""
        try:
            return self._get_state(table_id)
        except NotFound:
            return None
        except _ERRORS as error:
            if _is_about_all_tables(error):
                raise self._explain(error) from None
            return error

    def _may_read_another(self, forbidden: str) -> bool:
        """False when the rows of no other table may be read either: then it is the account that lacks a role."""
        if self._may_read_some is None:
            self._may_read_some = any(self._may_read(table_id) for table_id in self._listed if table_id != forbidden)
        return self._may_read_some

    def _may_read(self, table_id: str) -> bool:
        try:
            self._ask(f"{self._dataset.table(table_id).path}/data", {**_PAGE_OPTIONS, "maxResults": 1}, _parse_object)
        except Forbidden:
            return False
        except _ERRORS as error:
            if _is_about_all_tables(error):
                raise self._explain(error) from None
        return True

    def _get_state(self, table_id: str) -> _State:
        table = self._ask(self._dataset.table(table_id).path, {}, _parse_table)
        return _State(
            columns=table.schema,
            created_at=table.created and table.created.isoformat(),
            modified_at=table.modified and table.modified.isoformat(),
            rows=table.num_rows or 0,
            size_bytes=table.num_bytes or 0,
            is_streamed_into=table.streaming_buffer is not None,
        )

    def _describe(self, table_id: str, state: _State | None) -> ListedFile:
        return ListedFile(
            name=table_id,
            path=f"{self._dataset.project}.{self._dataset.dataset_id}.{table_id}",
            form="parquet",
            is_gzipped=False,
            delivery="table",
            size_bytes=state.size_bytes if state else 0,
            modified_at=state.modified_at if state else None,
            # BigQuery's own etag also changes with labels, descriptions and expiry dates
            etag=f"{state.rows} rows" if state else None,
        )

    def _read(self, table_id: str, state: _State, target: Path) -> tuple[int, str]:
        """Write the rows of a table to `target`; returns their number and a hash that is the same in any order."""
        rows, sums = self._write(table_id, state, target, lambda each: self._get_pages(each, table_id))
        return rows, _hash_rows(state, rows, sums)

    def _fetch_appended(self, file: ListedFile, before: _State, target: Path) -> SourceFile | None:
        """An intraday table as it was two minutes ago: the rows that are kept of it, and those appended since.

        None where it has to be read as a whole. What is younger than the two minutes is left to the next run, which
        therefore does not take the table for unchanged.
        """
        if not self._may_query or "_intraday_" not in file.name or before.created_at is None:
            return None
        until = dt.datetime.now(dt.UTC) - _SETTLED_AFTER
        if until <= dt.datetime.fromisoformat(before.created_at):
            return None
        columns = describe_columns(_list_columns(before))
        kept = self._kept.find(file.name, created_at=before.created_at, columns=columns)
        sql = _write_appends(self._dataset, file.name, before, None if kept is None else kept.until, until)
        try:
            rows, sums = self._write(file.name, before, target, lambda each: self._get_results(each, sql), kept=kept)
        except (BadRequest, Forbidden, NotFound, duckdb.Error) as error:
            if _is_about_all_tables(error):
                raise
            self._may_query = False
            self._kept.drop(file.name)
            logger.info("%s is read as a whole: %s", file.name, _first_line(error))
            return None
        if kept is not None and rows < kept.counted:
            logger.warning("%s is read as a whole: %d rows were appended, %d counted", file.name, rows, kept.counted)
            self._kept.drop(file.name)
            return None
        low, high = (int(each) for each in sums)
        self._kept.keep(
            file.name,
            target,
            Kept(before.created_at, columns, until.isoformat(), rows, (low, high), before.rows, file=""),
        )
        listed = self._describe(file.name, before)
        modified = listed.modified_at
        if modified is not None and until <= dt.datetime.fromisoformat(modified):
            modified = until.isoformat()
        return SourceFile(file.name, listed.size_bytes, modified, listed.etag, _hash_rows(before, rows, sums))

    def _write(
        self,
        table_id: str,
        state: _State,
        target: Path,
        get_pages: Callable[[duckdb.DuckDBPyConnection], Iterator[str]],
        *,
        kept: Kept | None = None,
    ) -> tuple[int, NDArray[np.uint64]]:
        """Write the kept rows and those of the pages to `target`; their number and the sums of their hashes."""
        select = write_select(state.columns)
        rows, sums = 0, np.zeros(2, dtype=np.uint64)
        show_bar = self._progress and sys.stderr.isatty()
        with (
            duckdb.connect(config={"threads": 1, "memory_limit": "1GB"}) as connection,
            tqdm(total=state.rows, unit="row", desc=table_id, leave=False, disable=not show_bar) as bar,
            _RowGroups(target, _to_arrow(connection, select, "{}").drop(_HASHES).schema) as groups,
        ):
            if kept is not None:
                rows, sums = kept.rows, np.array(kept.sums, dtype=np.uint64)
                for batch in pq.ParquetFile(self._kept.path(kept)).iter_batches():
                    groups.add(pa.Table.from_batches([batch]))
            for text in get_pages(connection):
                page = _to_arrow(connection, select, text)
                # sums wrap around on purpose
                sums += np.array([page[name].to_numpy().sum(dtype=np.uint64) for name in _HASHES], dtype=np.uint64)
                groups.add(page.drop(_HASHES))
                bar.update(page.num_rows)
                if not show_bar and rows // _ROWS_PER_LOG_LINE < (rows + page.num_rows) // _ROWS_PER_LOG_LINE:
                    logger.info("%s: %d of %d rows read", table_id, rows + page.num_rows, state.rows)
                rows += page.num_rows
        return rows, sums

    def _get_pages(self, connection: duckdb.DuckDBPyConnection, table_id: str) -> Iterator[str]:
        """The pages of tabledata.list as the JSON that BigQuery sent.

        The client's own iterators make a Python object of every value, which takes most of the time and memory.
        """
        parameters: dict[str, Any] = {**_PAGE_OPTIONS}
        while True:
            page = self._ask(
                f"{self._dataset.table(table_id).path}/data", parameters, lambda body: _parse_page(connection, body)
            )
            yield page.text
            if not page.token:
                return
            parameters["pageToken"] = page.token

    def _get_results(self, connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[str]:
        """The pages of a query's result, once it is there, as the JSON that BigQuery sent; rows are as in tables."""
        path = f"/projects/{self._client.project}/queries"
        order = {
            "query": sql,
            "useLegacySql": False,
            "maxResults": _PAGE_ROWS,
            "formatOptions": {"useInt64Timestamp": True},
            "requestId": str(uuid.uuid4()),  # asked again after a lost answer, it runs once
            "timeoutMs": _QUERY_WAIT_MS,
        }
        page = self._ask(path, {}, lambda body: _parse_page(connection, body), order=order)
        deadline = time.monotonic() + _QUERY_SECONDS
        while True:
            if page.is_complete:
                yield page.text
                if not page.token:
                    return
            elif time.monotonic() > deadline:
                raise BadRequest(f"the query is not done after {_QUERY_SECONDS:g} s")
            parameters = {**_PAGE_OPTIONS, "timeoutMs": _QUERY_WAIT_MS, "location": page.location}
            parameters |= {"pageToken": page.token} if page.token else {}
            parameters = {name: value for name, value in parameters.items() if value is not None}
            page = self._ask(f"{path}/{page.job_id}", parameters, lambda body: _parse_page(connection, body))

    def _ask(
        self,
        path: str,
        parameters: dict[str, Any],
        parse: Callable[[bytes], _Parsed],
        *,
        order: dict[str, Any] | None = None,
    ) -> _Parsed:
        """What BigQuery answers to a GET, or to a POST of `order`; `parse` raises ValueError for what it cannot send.

        The client's own calls take such an answer for a good one: they raise whatever comes of it, and ask only once.
        """

        def ask() -> _Parsed:
            body = self._client._connection.api_request(
                method="GET" if order is None else "POST",
                path=path,
                query_params=parameters,
                data=None if order is None else json.dumps(order),
                content_type=None if order is None else "application/json",
                expect_json=False,
                timeout=_SECONDS_PER_REQUEST,
            )
            try:
                return parse(body)
            except ValueError:
                start = " ".join(body[:60].decode("utf-8", "replace").split())
                raise _BrokenAnswerError(
                    f"an answer was cut off, or is not BigQuery's: {len(body):,} bytes" + (start and f", {start} …")
                ) from None

        try:
            return self._retry(ask)()
        except RetryError:
            self._retry = _RETRY.with_timeout(min(_RETRY.timeout or _SECONDS_AFTER_FAILURE, _SECONDS_AFTER_FAILURE))
            raise

    def _explain(self, error: Exception) -> SourceError:
        """What went wrong with the whole dataset, and what to do."""
        text = _first_line(error)
        error = _get_cause(error)
        if isinstance(error, NotFound):
            return SourceError(
                f"{self.uri} does not exist: {text}; copy the project and dataset from BigQuery's page. GA4's dataset "
                "is called analytics_ and the id of the property, and appears a day after the link is created"
            )
        if _is_out_of_quota(error):
            return SourceError(f"the quota for reading {self.uri} is used up: {text}; run again later, or raise it")
        if isinstance(error, Forbidden):
            return SourceError(
                f"reading {self.uri} is not allowed: {text}; give the account {_ROLE} on the dataset. If "
                "FUNNELHOUSE_BIGQUERY_BILLING_PROJECT is set, it also needs Service Usage Consumer on that project"
            )
        if _is_about_signing_in(error) and not isinstance(error, TransportError):
            return SourceError(
                f"cannot sign in to Google for {self.uri}: {text}; run `gcloud auth application-default login` again, "
                "or check the key file that GOOGLE_APPLICATION_CREDENTIALS names"
            )
        return SourceError(f"cannot read {self.uri}: {text}; check the network and run again")


class _BrokenAnswerError(ConnectionError):
    """A whole answer as far as HTTP can tell, and not what BigQuery sends: cut off on the way, or a proxy's page."""


# Everything that Google's client raises once it has stopped to try again.
_ERRORS = (GoogleAPICallError, RetryError, GoogleAuthError, RequestException, ConnectionError)

_HASHES = ["__hash_low", "__hash_high"]


class _RowGroups:
    """A Parquet file that grows by a row group whenever enough rows have come."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema)
        self._waiting: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Append rows; holds back at most one row group of them."""
        self._waiting.append(rows)
        if sum(table.nbytes for table in self._waiting) >= _ROW_GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        rows = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting = []
        if rows.num_rows:
            self._writer.write_table(rows, row_group_size=rows.num_rows)

    def __enter__(self) -> _RowGroups:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._waiting:
            self._write()
        self._writer.close()


def write_select(columns: Sequence[Any]) -> str:
    """SQL that turns one page of tabledata.list, given as a parameter, into rows of the table's columns and two hashes.

    A row comes as {"f": [{"v": …}, …]} in the order of the columns, a repeated field as [{"v": …}, …], a record like a
    row; everything else is text or null.
    """
    selected = [f'{_decode(column, f"f[{number}].v", 0)} as "{column.name}"' for number, column in _number(columns)]
    hashes = "md5_number_lower(line) as __hash_low, md5_number_upper(line) as __hash_high"
    return (
        f"select {', '.join(selected)}, {hashes} from (select line, {_parse('line', _FIELDS)}.f as f "
        f"from (select cast(unnest({_parse('?::varchar', _PAGE)}.rows) as varchar) as line))"
    )


_SELECT_NEXT = """
    select json_type($1), json_extract_string($1, '$.pageToken'), json_extract_string($1, '$.jobComplete'),
        json_extract_string($1, '$.jobReference.jobId'), json_extract_string($1, '$.jobReference.location')
"""
_PAGE = '{"rows":["JSON"]}'
_FIELDS = '{"f":[{"v":"VARCHAR"}]}'
_VALUES = '[{"v":"VARCHAR"}]'
_RECORD_VALUES = f'[{{"v":{_FIELDS}}}]'


def _parse(text: str, shape: str) -> str:
    return f"from_json({text}, '{shape}')"


def _decode(column: Any, value: str, depth: int) -> str:
    """The SQL of one field, given the SQL of its value as text."""
    item = f"x{depth}"
    is_record = column.field_type in _RECORDS
    if column.mode == "REPEATED":
        if is_record:
            inner = _pack(column, f"{item}.v.f", depth + 1)
            return f"list_transform({_parse(value, _RECORD_VALUES)}, lambda {item}: {inner})"
        inner = _FROM_TEXT.get(column.field_type, "{}").format(f"{item}.v")
        return f"list_transform({_parse(value, _VALUES)}, lambda {item}: {inner})"
    if is_record:
        # a list of one, so that the record is parsed once for all its fields
        return f"list_transform([{_parse(value, _FIELDS)}.f], lambda {item}: {_pack(column, item, depth + 1)})[1]"
    return _FROM_TEXT.get(column.field_type, "{}").format(value)


def _pack(record: Any, fields: str, depth: int) -> str:
    members = [
        f'"{field.name}" := {_decode(field, f"{fields}[{number}].v", depth)}'
        for number, field in _number(record.fields)
    ]
    return f"case when {fields} is not null then struct_pack({', '.join(members)}) end"


def _number(fields: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return enumerate(fields, start=1)


@dataclass(frozen=True)
class _Page:
    """A page as BigQuery sent it, and where the next one is; of a query also whether it is done, and its job."""

    text: str
    token: str | None
    is_complete: bool
    job_id: str | None
    location: str | None


def _parse_page(connection: duckdb.DuckDBPyConnection, body: bytes) -> _Page:
    text = body.decode("utf-8")
    try:
        kind, token, complete, job_id, location = connection.execute(_SELECT_NEXT, [text]).fetchall()[0]
    except duckdb.InvalidInputException as error:
        raise ValueError(str(error)) from None
    if kind != "OBJECT":
        raise ValueError("not an object")
    return _Page(text, token, complete != "false", job_id, location)


def _require_columns(table_id: str, state: _State) -> _State:
    if not state.columns:
        what_to_do = "export the whole events table, or delete this one"
        raise FetchError(table_id, "has no columns", what_to_do=what_to_do, is_final=True)
    return state


def _list_columns(state: _State) -> str:
    return "\n".join(repr(column.to_api_repr()) for column in state.columns)


def _hash_rows(state: _State, rows: int, sums: NDArray[np.uint64]) -> str:
    return hashlib.sha256(f"{_list_columns(state)}\n{rows}\n{sums[0]}\n{sums[1]}".encode()).hexdigest()


def _write_appends(
    dataset: bigquery.DatasetReference, table_id: str, state: _State, since: str | None, until: dt.datetime
) -> str:
    """The rows appended from `since` (None: ever) to before `until`:
    https://cloud.google.com/bigquery/docs/reference/standard-sql/table-functions-built-in#appends"""
    columns = ", ".join(f"`{column.name}`" for column in state.columns)
    begin = "null" if since is None else f"timestamp '{since}'"
    table = f"`{dataset.project}.{dataset.dataset_id}.{table_id}`"
    return f"select {columns} from appends(table {table}, {begin}, timestamp '{until.isoformat()}')"


def _parse_object(body: bytes) -> dict[str, Any]:
    answer = json.loads(body)
    if not isinstance(answer, dict):
        raise ValueError("not an object")
    return answer


def _parse_table(body: bytes) -> bigquery.Table:
    answer = _parse_object(body)
    if "tableReference" not in answer:
        raise ValueError("not a table")
    return bigquery.Table.from_api_repr(answer)


def _to_arrow(connection: duckdb.DuckDBPyConnection, select: str, page: str) -> pa.Table:
    with warnings.catch_warnings():
        # the copy that it warns of is one page; a relation instead would be planned twice, which takes longer
        warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
        return connection.execute(select, [page]).to_arrow_table()


def _describe_misfit(table_id: str, error: duckdb.Error) -> FetchError:
    """Why the rows of a table that did not change could not be taken apart."""
    if isinstance(error, duckdb.ConversionException):
        return FetchError(
            table_id,
            f"holds a value that does not match its column's type: {_first_line(error)}",
            what_to_do="correct the value, or the type of its column, in BigQuery",
            is_final=True,
        )
    return FetchError(table_id, f"cannot be read as a table: {_first_line(error)}")


def _get_cause(error: Exception) -> Exception:
    """What was tried again until the time for it was over, or else the error itself."""
    return error.cause if isinstance(error, RetryError) and isinstance(error.cause, Exception) else error


def _is_about_signing_in(error: Exception) -> bool:
    return isinstance(error, GoogleAuthError | Unauthorized)


def _is_out_of_quota(error: Exception) -> bool:
    return isinstance(error, Forbidden) and any(detail.get("reason") == "quotaExceeded" for detail in error.errors)


def _is_about_all_tables(error: Exception) -> bool:
    """True for what no other table of the dataset would be spared."""
    cause = _get_cause(error)
    return _is_about_signing_in(cause) or _is_out_of_quota(cause)


def _first_line(error: Exception) -> str:
    if isinstance(error, RetryError) and _get_cause(error) is not error:
        return f"{_first_line(_get_cause(error))} (after several retries, {error.message.lower()})"
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    if isinstance(error, GoogleAPICallError) and error.code:
        # without the page token, which says nothing and may be long
        text = f"{error.code:d} " + re.sub(r"(?<=\S)\?\S*(?=: |$)", "", text, count=1)
    return " ".join(text.split())[:300]
