"""One fetched file -> one lake file with every known column in its known type; nothing that was exported is lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from foundation.errors import FunnelhouseError
from foundation.quoting import quote_name, quote_path, quote_text
from ingest.cast import AS_EXPORTED, NESTED, Field, compare_columns, list_doubts, write_cast
from ingest.engine import is_about_space
from ingest.flatten import write_flat_file
from ingest.names import Form
from ingest.odd_bytes import mend_lines
from ingest.printable import as_line
from warehouse.flat import FlatColumn, list_unread
from warehouse.ga4_schema import EVENT_COLUMNS, REQUIRED_COLUMNS

# NDJSON leaves nulls out, and a day of cookieless pings alone has no pseudo id at all.
_MAY_BE_ABSENT_IN_NDJSON = {"user_pseudo_id"}
# What readers of the lake add to each row, and what is added here: an exported column of such a name gets another one.
_RESERVED = {"filename", "file_row_number", "__row"}
# BigQuery has no table with more; each takes memory to read and to write, whatever it holds.
_MOST_FIELDS = 10_000
# Nor one with deeper records; DuckDB takes twice as long to read a column of Parquet for each list around its values.
_MOST_LISTS = 15
_READ_NDJSON = "format = 'newline_delimited', compression = 'none', hive_partitioning = false"


class UnreadableFileError(FunnelhouseError):
    """A file that cannot be loaded: why, where in it, and what to do."""

    def __init__(
        self,
        reason: str,
        *,
        what_to_do: str,
        row: int | None = None,
        column: str | None = None,
        is_final: bool = True,
    ) -> None:
        """`is_final` says that trying again is of no use before the file changes."""
        # a reason quotes the file, which may hold anything
        self.reason, self.what_to_do, self.row, self.column = as_line(reason), what_to_do, row, column
        super().__init__(self.reason)
        self.is_final = is_final


@dataclass(frozen=True)
class UncastValues:
    """Values of one (sub-)column that are not of its known type: null there, kept as exported beside it."""

    column: str
    expected_type: str
    exported_type: str
    rows: int
    first_row: int
    kept_in: str


@dataclass(frozen=True)
class LakeFile:
    """What came out of one file."""

    row_count: int
    is_copied: bool = False  # byte for byte
    mended_rows: int = 0  # that had bytes which are no text
    unknown_columns: dict[str, str] = field(default_factory=dict)
    missing_columns: list[str] = field(default_factory=list)
    retyped_columns: dict[str, str] = field(default_factory=dict)
    uncast: list[UncastValues] = field(default_factory=list)


def write_lake_file(
    connection: duckdb.DuckDBPyConnection, source: Path, form: Form, target: Path, flat_columns: Sequence[FlatColumn]
) -> LakeFile:
    """Turn the fetched file `source` into the lake file `target` and its flat form; row order is kept.

    A Parquet file that already has the lake's schema is read through once and moved as it is. Raises
    UnreadableFileError for a file that is not what its name says or lacks a required column.
    """
    try:
        if form == "parquet":
            return _write_parquet(connection, source, target, flat_columns)
        lake_file = _write_ndjson(connection, source, target)
        write_flat_file(connection, flat_columns, target, target)
        return lake_file
    except duckdb.Error as error:
        if is_about_space(error):
            raise
        message = str(error).splitlines()[0].replace(str(source), source.name).replace(f'file "{source.name}"', "it")
        raise UnreadableFileError(
            f"cannot be read as {'Parquet' if form == 'parquet' else 'newline-delimited JSON'}: {message}",
            what_to_do="export this table again; the next run picks up the new file by itself",
        ) from error
    except (
        UnicodeDecodeError,
        RuntimeError,
    ) as error:  # a damaged name of a column or a field, which DuckDB hands over
        reason = "the name of a column or field is not UTF-8 text"
        if isinstance(error, UnicodeDecodeError):
            reason += f" (… {error.object[max(error.start - 20, 0) : error.end + 20]!r} …)"
        elif "conversion error" not in str(error):  # something in DuckDB that it has no error of its own for
            reason = f"DuckDB fails on it ({error})"
        raise UnreadableFileError(
            f"cannot be read as {'Parquet' if form == 'parquet' else 'newline-delimited JSON'}: {reason}",
            what_to_do="export this table again; the next run picks up the new file by itself",
        ) from error


def _write_parquet(
    connection: duckdb.DuckDBPyConnection, source: Path, target: Path, flat_columns: Sequence[FlatColumn]
) -> LakeFile:
    plain = f"read_parquet({quote_path(source)}, hive_partitioning = false)"
    exported = _describe(connection, plain)
    known = _known_fields(connection)
    _require_columns([name for name, _ in exported], REQUIRED_COLUMNS)
    _refuse_odd_schema(exported)
    is_as_known = [(name, str(dtype)) for name, dtype in exported[: len(known)]] == [
        (name, str(dtype)) for name, dtype in known
    ]
    if is_as_known and not any(name.casefold() in _RESERVED for name, _ in exported):
        # Reading every page once finds a damaged file here, where it costs one day, and not whoever reads it later.
        row_count = write_flat_file(connection, flat_columns, source, target)
        others = ", ".join(quote_name(name) for name in list_unread(name for name, _ in exported))
        connection.execute(f"select bit_xor(hash({others})) from {plain}").fetchall()
        source.rename(target)
        unknown = {name: str(dtype) for name, dtype in exported[len(known) :]}
        return LakeFile(row_count=row_count, is_copied=True, unknown_columns=unknown)
    relation = f"read_parquet({quote_path(source)}, hive_partitioning = false, binary_as_string = true"
    exported = _describe(connection, relation + ")")
    lake_file = _write_cast(connection, relation, exported, target)
    write_flat_file(connection, flat_columns, target, target)
    return lake_file


def _write_ndjson(connection: duckdb.DuckDBPyConnection, source: Path, target: Path) -> LakeFile:
    try:
        return _write_json_lines(connection, source, target)
    except duckdb.Error as error:
        if is_about_space(error):
            raise
        whole = source.with_suffix(".whole")
        mended_rows = mend_lines(source, whole)
        if not mended_rows:
            _refuse_malformed_row(source, error)
            raise
    try:
        return replace(_write_json_lines(connection, whole, target), mended_rows=mended_rows)
    except duckdb.Error as error:
        if not is_about_space(error):
            _refuse_malformed_row(whole, error)
        raise


def _refuse_malformed_row(source: Path, error: duckdb.Error) -> None:
    """Say of a file that DuckDB has refused which row is malformed; return if none is."""
    row = _find_malformed_row(source)
    if row is not None:
        raise UnreadableFileError(
            f"row {row[0]} {row[1]}",
            row=row[0],
            what_to_do="export this table again, or repair the row; the next run picks up the new file by itself",
        ) from error


def _write_json_lines(connection: duckdb.DuckDBPyConnection, source: Path, target: Path) -> LakeFile:
    # Every row counts for the types; otherwise the first odd value after the sample would fail the file.
    sniff = (
        f"read_json({quote_path(source)}, {_READ_NDJSON}, records = 'true', sample_size = -1, maximum_depth = -1, "
        "map_inference_threshold = -1, field_appearance_threshold = 0)"
    )
    found = _describe(connection, sniff) if _has_content(source) else []
    if not found:
        return _write_empty(connection, target)
    _require_columns([name for name, _ in found], set(REQUIRED_COLUMNS) - _MAY_BE_ABSENT_IN_NDJSON)
    known = dict(_known_fields(connection))
    columns = {name: _type_to_read(dtype, known.get(name.casefold())) for name, dtype in found}
    pairs = ", ".join(f"{quote_text(name)}: {quote_text(dtype)}" for name, dtype in columns.items())
    relation = f"read_json({quote_path(source)}, {_READ_NDJSON}, columns = {{{pairs}}}"
    _refuse_renamed_keys(connection, source, [name for name, _ in found])
    exported = _describe(connection, relation + ")")
    _refuse_odd_schema(exported)
    return _write_cast(connection, relation, exported, target, found_in_json=found)


def _write_cast(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    exported: list[Field],
    target: Path,
    *,
    found_in_json: list[Field] | None = None,
) -> LakeFile:
    """Write every known column in its type, then the unknown ones.

    `relation` is a table function call without its closing bracket, `found_in_json` what JSON's values look like.
    """
    known = _known_fields(connection)
    by_name = {name.casefold(): (name, dtype) for name, dtype in exported}
    uncast = _find_uncast(connection, relation, known, by_name)
    doubtful = {values.column.split(".")[0] for values in uncast}
    drift = compare_columns(known, exported, found_in_json=found_in_json)
    selected, kept = [], []
    for name, dtype in known:
        if name not in drift.present:
            selected.append(f"null::{dtype} as {quote_name(name)}")
            continue
        own_name, own_type = by_name[name.casefold()]
        cast = write_cast(quote_name(own_name), own_type, dtype, column=name, is_doubtful=name in doubtful)
        selected.append(f"{cast} as {quote_name(name)}")
        if name in doubtful or name in drift.with_unknown_sub_fields:
            kept.append(f"{quote_name(own_name)} as {quote_name(name + AS_EXPORTED)}")
    known_names = {name for name, _ in known}
    taken = known_names | {name.casefold() for name, _ in exported}
    unknown = [_select_unknown(name, taken) for name, _ in exported if name.casefold() not in known_names]
    query = f"select {', '.join(selected + unknown + kept)} from {relation})"
    row_count = connection.execute(f"copy ({query}) to {quote_text(str(target))} (format parquet)").fetchall()[0][0]
    return LakeFile(
        row_count=row_count,
        unknown_columns=drift.unknown,
        missing_columns=drift.missing,
        retyped_columns=drift.retyped,
        uncast=uncast,
    )


def _select_unknown(name: str, taken: set[str]) -> str:
    """A column of the shop's own as it is; one that would hide what readers of the lake add gets a name of its own."""
    if name.casefold() not in _RESERVED:
        return quote_name(name)
    own_name = f"exported_{name}"
    while own_name.casefold() in taken:
        own_name += "_"
    return f"{quote_name(name)} as {quote_name(own_name)}"


def _find_uncast(
    connection: duckdb.DuckDBPyConnection, relation: str, known: list[Field], by_name: dict[str, Field]
) -> list[UncastValues]:
    """Count, per (sub-)column, the rows whose value is lost or changed by the cast to the known type."""
    doubts = [
        (name, doubt)
        for name, dtype in known
        if name in by_name
        for doubt in list_doubts(quote_name(by_name[name][0]), by_name[name][1], dtype, path=name)
    ]
    if not doubts:
        return []
    counts = [
        f"count(*) filter ({doubt.condition}), count({quote_name(by_name[name][0])})" for name, doubt in doubts
    ]  # per doubt: rows that do not cast, and rows that have a value in the column at all
    row = connection.execute(f"select {', '.join(counts)} from {relation})").fetchall()[0]
    uncast = []
    for position, (name, doubt) in enumerate(doubts):
        bad_rows, filled_rows = row[2 * position : 2 * position + 2]
        if not bad_rows:
            continue
        first_row = connection.execute(
            f"select min(found.__row) from (select row_number() over () as __row, {quote_name(by_name[name][0])} "
            f"from {relation})) as found where {doubt.condition}"
        ).fetchall()[0][0]
        if name in REQUIRED_COLUMNS and bad_rows == filled_rows and doubt.path == name:
            raise UnreadableFileError(
                f"column {name} is {doubt.exported_type}, and none of its {bad_rows} values is a {doubt.expected_type} "
                f"(first: row {first_row})",
                row=first_row,
                column=name,
                what_to_do=f"export the table with {name} as {doubt.expected_type}",
            )
        uncast.append(
            UncastValues(
                column=doubt.path,
                expected_type=doubt.expected_type,
                exported_type=doubt.exported_type,
                rows=bad_rows,
                first_row=first_row,
                kept_in=name + AS_EXPORTED,
            )
        )
    return uncast


def _write_empty(connection: duckdb.DuckDBPyConnection, target: Path) -> LakeFile:
    columns = ", ".join(f"null::{dtype} as {quote_name(name)}" for name, dtype in EVENT_COLUMNS.items())
    connection.execute(f"copy (select {columns} where false) to {quote_text(str(target))} (format parquet)")
    return LakeFile(row_count=0)


def _require_columns(exported: list[str], required: Any) -> None:
    have = {name.casefold() for name in exported}
    missing = [name for name in EVENT_COLUMNS if name in required and name not in have]
    if missing:
        raise UnreadableFileError(
            f"required column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; it has "
            f"{', '.join(exported[:8])}{', …' if len(exported) > 8 else ''}",
            column=missing[0],
            what_to_do="export the whole events table, with all its columns",
        )


def _refuse_odd_schema(exported: list[Field]) -> None:
    """Refuse more columns, with the fields in them, or deeper lists than a table of BigQuery can have."""
    count, rest = 0, [(name, dtype, 0) for name, dtype in exported]
    while rest:
        name, dtype, lists = rest.pop()
        count += 1
        if lists > _MOST_LISTS:
            raise UnreadableFileError(
                f"column {name} has lists in lists, more than {_MOST_LISTS} levels deep",
                column=as_line(name),
                what_to_do="export this table again, without this column if it is one of your own",
            )
        if dtype.id in NESTED:
            inside = lists + (dtype.id in {"list", "array", "map"})
            # an array has its size there, too
            rest.extend((name, child, inside) for _, child in dtype.children if hasattr(child, "id"))
    if count > _MOST_FIELDS:
        raise UnreadableFileError(
            f"it has {count:,} different columns and fields, and an events table has at most {_MOST_FIELDS:,}",
            what_to_do="export this table again; the next run picks up the new file by itself",
        )


def _type_to_read(found: Any, known: Any | None, lists: int = 0) -> str:
    """The SQL type to read a JSON value as, so that reading never fails and never changes the value.

    `found` is what the values look like, `known` what they must become later (None for unknown columns), `lists` how
    many lists there are around them: in too many of them they stay text.
    """
    if found.id == "struct":
        if known is not None and known.id != "struct":
            return "JSON" if known.id == "list" else "VARCHAR"
        inner = {} if known is None else dict(known.children)
        members = [(name, _type_to_read(dtype, inner.get(name.casefold()), lists)) for name, dtype in found.children]
        return f"STRUCT({', '.join(f'{quote_name(name)} {dtype}' for name, dtype in members)})"
    if found.id == "list":
        if known is not None and known.id != "list":
            return "JSON" if known.id == "struct" else "VARCHAR"
        if lists == _MOST_LISTS:
            return "JSON"
        return _type_to_read(found.children[0][1], None if known is None else known.children[0][1], lists + 1) + "[]"
    if known is None:
        # JSON has numbers, booleans and strings; a string that looks like a date stays the string it was.
        # Parquet has no integer beyond 64 bits: such a number is kept as its digits.
        return str(found) if str(found) in {"BIGINT", "UBIGINT", "DOUBLE", "BOOLEAN", "JSON"} else "VARCHAR"
    if known.id in {"struct", "list"}:
        return "JSON"
    if known.id == "double" and found.id in {"bigint", "ubigint", "double"}:
        return "DOUBLE"
    return "BOOLEAN" if known.id == found.id == "boolean" else "VARCHAR"


def _refuse_renamed_keys(connection: duckdb.DuckDBPyConnection, path: Path, names: list[str]) -> None:
    """Refuse keys that differ only in case: DuckDB detects `a` and `A` as `a` and `A_1`, and then reads no `A_1`."""
    lower = {name.casefold() for name in names}
    for name in names:
        stem, _, number = name.rpartition("_")
        if not (number.isdigit() and stem.casefold() in lower):
            continue
        relation = f"read_json({quote_path(path)}, {_READ_NDJSON}, columns = {{{quote_text(stem)}: 'JSON'}})"
        own = f"read_json({quote_path(path)}, {_READ_NDJSON}, columns = {{{quote_text(name)}: 'JSON'}})"
        if _has_values(connection, relation, stem) and not _has_values(connection, own, name):
            raise UnreadableFileError(
                f"two keys differ only in case: {stem}",
                column=stem,
                what_to_do="export the table with column names that differ by more than case",
            )


def _has_values(connection: duckdb.DuckDBPyConnection, relation: str, name: str) -> bool:
    return bool(connection.execute(f"select count({quote_name(name)}) from {relation}").fetchall()[0][0])


def _find_malformed_row(path: Path) -> tuple[int, str] | None:
    """The first line that DuckDB refuses, and why; read line by line, and only in a file that DuckDB has refused."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
            except ValueError as error:
                return number, f"is not a JSON object: {error}"
            except RecursionError:
                return number, "is nested too deeply: no event of GA4 has more than a few levels"
            if not isinstance(value, dict):
                return number, f"is not a JSON object: it is a {type(value).__name__}"
            if "" in value:
                return number, "has a key without a name"
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _has_content(path: Path) -> bool:
    """False for a file of nothing but white space: no rows."""
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            if chunk.strip():
                return True
    return False


def _known_fields(connection: duckdb.DuckDBPyConnection) -> list[Field]:
    columns = ", ".join(f"null::{dtype} as {quote_name(name)}" for name, dtype in EVENT_COLUMNS.items())
    relation = connection.sql(f"select {columns}")
    return list(zip(relation.columns, relation.types, strict=True))


def _describe(connection: duckdb.DuckDBPyConnection, relation: str) -> list[Field]:
    described = connection.sql(f"select * from {relation}")
    return list(zip(described.columns, described.types, strict=True))
