"""Mutations of a day of Parquet: columns, types, shapes, how it is stored, and the bytes of the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tests.ingest.fuzz_json import ODD_KEYS
from warehouse.ga4_schema import EVENT_COLUMNS, REQUIRED_COLUMNS

Columns = dict[str, str]  # name in the file -> SQL over the table `base`

# SQL of a column of another type; {} is the column.
RETYPED = [
    "1::utinyint",
    "-1::tinyint",
    "7::smallint",
    "20260801::integer",
    "20260801::uinteger",
    "1785542400000000::bigint",
    "18446744073709551615::ubigint",
    "170141183460469231731687303715884105727::hugeint",
    "340282366920938463463374607431768211455::uhugeint",
    "1.5::float",
    "1785542400000000.0::double",
    "'nan'::double",
    "'-inf'::double",
    "12.50::decimal(9, 2)",
    "20260801::decimal(18, 0)",
    "12345678901234567890.123::decimal(38, 3)",
    "true",
    "'x'",
    "''",
    "repeat('x', 100000)",
    "chr(0) || 'a'",
    "'\\xFF\\x00'::blob",
    "encode({}::varchar)",
    "'20260801'::blob",
    "date '2026-08-01'",
    "date '0001-01-01'",
    "'infinity'::date",
    "timestamp '2026-08-01 10:00:00'",
    "'2026-08-01 10:00:00+00'::timestamptz",
    "timestamp_ns '2026-08-01 10:00:00.123456789'",
    "timestamp_ms '2026-08-01 10:00:00'",
    "'-infinity'::timestamp",
    "time '10:00:00'",
    "'10:00:00+02'::timetz",
    "interval 3 days",
    "uuid '00000000-0000-0000-0000-000000000001'",
    "'10101'::bit",
    "'a'::enum('a', 'b')",
    "'20260801'::enum('20260801')",
    "'{\"a\": [1]}'::json",
    '\'[{"key": "a"}]\'::json',
    "'[1, 2'::varchar",
    "null",
    "null::varchar",
    "null::bigint[]",
    "[]",
    "[[]]",
    "[1, null]",
    "['a', null]",
    "[1, 2]::integer[2]",
    "['1', '2']::varchar[2]",
    "[[1], null, []]",
    "struct_pack(a := 1)",
    'struct_pack("list" := [struct_pack(element := 1)])',
    'struct_pack("list" := [struct_pack(element := {})])',
    'struct_pack("list" := [struct_pack(element := struct_pack("key" := \'k\'))])',
    'struct_pack("key" := \'k\', "value" := 1)',
    '[struct_pack("key" := 1, "value" := struct_pack(int_value := \'x\'))]',
    '[struct_pack("KEY" := \'k\', "Value" := struct_pack(INT_VALUE := 1.5, "a""b" := 1))]',
    '[struct_pack("key" := [1], "value" := [struct_pack(int_value := 1)]), null]',
    "map {'a': 1}",
    "map {'key': 'k', 'value': 'v'}",
    "map {1: struct_pack(a := 1)}",
    "[map {'key': 'k'}]",
    "map([]::varchar[], []::varchar[])",
    "union_value(num := 1)",
    "[{}]",
    "[[{}]]",
    'struct_pack("value" := {})',
    "map {'a': {}}",
    "to_json({})",
    "to_json({})::varchar",
    "{}::varchar",
    "case when random() < 0.5 then {} end",
    "[" * 50 + "1" + "]" * 50,
    "[" * 14 + "1" + "]" * 14,
    "map {'a': " * 20 + "1" + "}" * 20,
    "struct_pack(a := " * 50 + "1" + ")" * 50,
    "parse_json('1')::variant",
]
_TYPES = [
    "bigint",
    "double",
    "varchar",
    "boolean",
    "decimal(20, 3)",
    "date",
    "timestamp",
    "blob",
    "integer",
    "hugeint",
    "uuid",
    "json",
]
_CODECS = ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4", "lz4_raw"]
_ARROW_CODECS = ["NONE", "SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4"]


def mutate_columns(random_: random.Random, connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Write a file with one to three mutations of its columns, stored in some way; what was done."""
    columns: Columns = {name: _quote(name) for name in EVENT_COLUMNS}
    done = []
    for _ in range(random_.choice([1, 1, 2, 3])):
        name = random_.choice(list(_MUTATIONS))
        _MUTATIONS[name](random_, connection, columns)
        done.append(name)
    done.append(write_columns(random_, connection, columns, path))
    return ", ".join(done)


def write_columns(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns, path: Path) -> str:
    """Write the columns, with DuckDB or Arrow, in one of the ways in which Parquet can be stored; which."""
    seen: set[str] = set()
    selected = []
    for name, expression in columns.items():
        # DuckDB writes no two columns whose names differ by case alone; Arrow does
        selected.append((name, expression, name.casefold() in seen or not name))
        seen.add(name.casefold())
    is_ambiguous = any(doubtful for *_, doubtful in selected)
    rows = random_.choice(["", "", "", "", "", "", " where false", ", range(40)", " limit 1"])
    if not is_ambiguous and random_.random() < 0.6:
        codec = random_.choice(_CODECS)
        options = [
            f"compression {codec}",
            f"row_group_size {random_.choice([1, 2048, 100_000])}",
            f"parquet_version '{random_.choice(['v1', 'v2'])}'",
        ]
        query = ", ".join(f"{expression} as {_quote(name)}" for name, expression in columns.items())
        if _is_written(connection, f"select {query} from base{rows}", path, ", ".join(options)):
            return f"by DuckDB{rows}, {codec}"
    query = ", ".join(f"{expression} as c{position}" for position, expression in enumerate(columns.values()))
    try:
        table = connection.sql(f"select {query} from base{rows}").to_arrow_table()
    except (duckdb.Error, RuntimeError):  # a type that Arrow does not have
        table = connection.sql(f"from base{rows}").to_arrow_table().select(range(min(len(columns), len(EVENT_COLUMNS))))
        columns = {name: name for name in table.column_names}
    table = table.rename_columns([name.encode("utf-8", "replace").decode() for name in columns])
    return f"by Arrow{rows}, {_write_arrow(random_, table, path)}"


def _is_written(connection: duckdb.DuckDBPyConnection, query: str, path: Path, options: str) -> bool:
    """Write what DuckDB can write; it has no Parquet for some types and names."""
    try:
        connection.execute(f"copy ({query}) to '{path}' (format parquet, {options})")
    except (duckdb.Error, RuntimeError):
        return False
    return True


def _write_arrow(random_: random.Random, table: pa.Table, path: Path) -> str:
    table = _retype_in_arrow(random_, table)
    is_small = table.num_rows < 50 and table.num_columns < 50
    codec = random_.choice(_ARROW_CODECS)
    options = {
        "compression": codec,
        "row_group_size": random_.choice([1, 3, 1_000]) if is_small else 500,
        "use_dictionary": random_.random() < 0.5,
        "data_page_version": random_.choice(["1.0", "2.0"]),
        "version": random_.choice(["1.0", "2.4", "2.6"]),
        "use_deprecated_int96_timestamps": random_.random() < 0.3,
        "store_schema": random_.random() < 0.7,
        "use_compliant_nested_type": random_.random() < 0.7,
        "write_statistics": random_.random() < 0.5,
        "write_page_checksum": random_.random() < 0.3,
    }
    if not _is_writable(table, path, options):
        sound = [place for place in range(table.num_columns) if _is_writable(table.select([place]), path, options)]
        pq.write_table(table.select(sound), path, **options)
    return codec


def _is_writable(table: pa.Table, path: Path, options: dict[str, Any]) -> bool:
    """Whether Parquet, in this form, has the types of the table; then it is written."""
    try:
        pq.write_table(table, path, **options)
    except (pa.ArrowException, NotImplementedError):
        return False
    return True


def _retype_in_arrow(random_: random.Random, table: pa.Table) -> pa.Table:
    """Give some columns a type that only Arrow writes."""
    for position in range(table.num_columns):
        if random_.random() > 0.08:
            continue
        column, field = table.column(position), table.schema.field(position)
        dtype = random_.choice(
            [
                pa.large_string(),
                pa.binary(),
                pa.dictionary(pa.int32(), pa.string()),
                pa.null(),
                pa.uint64(),
                pa.float16(),
                pa.duration("us"),
                pa.decimal256(50, 2),
                pa.binary(4),
                pa.time32("ms"),
                pa.timestamp("ns", "Europe/Ghent"),
                pa.list_(pa.null()),
                pa.struct([]),
                pa.map_(pa.string(), pa.null()),
                pa.large_list(pa.string()),
            ]
        )
        try:
            column = column.cast(dtype)
        except (pa.ArrowException, NotImplementedError):
            column = pa.chunked_array([pa.nulls(table.num_rows, dtype)])
        table = table.set_column(position, pa.field(field.name, dtype), column)
    return table


def _drop(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    optional = [name for name in columns if name not in REQUIRED_COLUMNS]
    gone = random_.choice([[random_.choice(list(columns))], random_.sample(optional, min(20, len(optional))), optional])
    for name in gone:
        if len(columns) > 1:
            columns.pop(name, None)


def _rename(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    old = random_.choice(list(columns))
    new = random_.choice([old.upper(), old.title(), old + " ", old + "_1", random_.choice(ODD_KEYS)])
    items = [(new if name == old else name, expression) for name, expression in columns.items()]
    columns.clear()
    columns.update(items)


def _retype(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    for name in random_.sample(list(columns), min(len(columns), random_.choice([1, 1, 3, 31]))):
        columns[name] = _sound(connection, random_.choice(RETYPED).replace("{}", columns[name]), columns[name])


def _retype_required(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    name = random_.choice(["event_date", "event_timestamp", "event_name", "event_params", "user_pseudo_id"])
    if name in columns:
        columns[name] = _sound(connection, f"try_cast({columns[name]} as {random_.choice(_TYPES)})", columns[name])


def _add(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    for _ in range(random_.choice([1, 1, 1, 5, 5, 100])):
        name = random_.choice([*ODD_KEYS, *[name.upper() for name in EVENT_COLUMNS], f"c{random_.randrange(10_000)}"])
        columns[name] = _sound(connection, random_.choice(RETYPED).replace("{}", "event_name"), "1")


def _reorder(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    items = list(columns.items())
    random_.shuffle(items)
    columns.clear()
    columns.update(items)


def _reshape(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    """Take fields of records away, name or type them otherwise, or add some."""
    nested = [name for name in columns if "STRUCT" in EVENT_COLUMNS.get(name, "")]
    for name in random_.sample(nested, min(len(nested), random_.choice([1, 2, 10]))):
        if columns[name] != _quote(name):
            continue
        [dtype] = connection.sql(f"select {name} from base").types
        columns[name] = _sound(connection, _rebuild(random_, columns[name], dtype, 0), columns[name])


def _rebuild(random_: random.Random, expression: str, dtype: object, depth: int) -> str:
    kind, children = dtype.id, dtype.children if dtype.id in {"list", "struct"} else []  # type: ignore[attr-defined]
    if kind == "list":
        inner = _rebuild(random_, f"x{depth}", children[0][1], depth + 1)
        wrapped = random_.choice(["{}", "{}", "{}", "[{}]", "struct_pack(element := {})"]).format(inner)
        return f"list_transform({expression}, lambda x{depth}: {wrapped})"
    if kind == "struct":
        members = []
        for name, child in children:
            chance = random_.random()
            if chance < 0.1:
                continue
            new = name if chance > 0.2 else random_.choice([name.upper(), random_.choice(ODD_KEYS[:-1])])
            if (
                new.casefold() in {member.casefold() for member, _ in members}
                or not new.strip()
                or not new.isprintable()
            ):
                new = name + "2"
            members.append((new, _rebuild(random_, f'{expression}."{name}"', child, depth)))
        random_.shuffle(members)
        if not members or random_.random() < 0.05:
            members.append(("extra", random_.choice(["1", "'x'", "[1]", "null"])))
        return f"struct_pack({', '.join(f'{_quote(name)} := {member}' for name, member in members)})"
    if random_.random() < 0.15:
        return random_.choice(
            [
                *[f"try_cast({expression} as {dtype_})" for dtype_ in _TYPES],
                f"[{expression}]",
                "null",
                "struct_pack(a := 1)",
            ]
        )
    return expression


def _empty(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    """Nulls, typed or not, in one column or in all."""
    for name in random_.sample(list(columns), min(len(columns), random_.choice([1, 5, 31]))):
        columns[name] = random_.choice([f"null::{EVENT_COLUMNS.get(name, 'varchar')}", "null", "null::integer"])


def _odd_values(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    """Values at the edges of the right type."""
    edges = {
        "VARCHAR": ["''", "chr(0)", "'(not set)'", "repeat('ä', 50000)", "chr(8238) || 'a'", "'20269999'", "E'a\\nb'"],
        "BIGINT": ["-1", "0", "9223372036854775807", "-9223372036854775808", "253402300800000000"],
        "DOUBLE": ["'nan'::double", "'inf'::double", "-1e308", "5e-324", "1e308"],
        "BOOLEAN": ["null"],
    }
    for name in random_.sample(list(columns), min(len(columns), random_.choice([1, 3, 20]))):
        dtype = EVENT_COLUMNS.get(name, "")
        if dtype in edges:
            edge = f"({random_.choice(edges[dtype])})::{dtype}"
            columns[name] = random_.choice([edge, f"case when rowid % 3 = 0 then {edge} else {_quote(name)} end"])
        elif dtype.endswith("[]"):
            columns[name] = random_.choice(
                [
                    f"list_concat({_quote(name)}, [null])::{dtype}",
                    f"[]::{dtype}",
                    f"[null]::{dtype}",
                    f"flatten(list_transform(range(300), lambda x: {_quote(name)}))::{dtype}",
                ]
            )


def _change_nothing(random_: random.Random, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
    """The valid day, stored in another way."""


_MUTATIONS: dict[str, Callable[[random.Random, duckdb.DuckDBPyConnection, Columns], None]] = {
    "columns dropped": _drop,
    "column renamed": _rename,
    "columns retyped": _retype,
    "required column retyped": _retype_required,
    "columns added": _add,
    "columns reordered": _reorder,
    "records reshaped": _reshape,
    "nulls": _empty,
    "odd values": _odd_values,
    "stored in another way": _change_nothing,
}


def mutate_bytes(random_: random.Random, content: bytes, make_other: Callable[[], bytes]) -> tuple[str, bytes]:
    """Damage a Parquet file; `make_other` makes another valid one. What was done, and the content."""
    name = random_.choice(list(_DAMAGES))
    return name, _DAMAGES[name](random_, bytearray(content), make_other)


def _footer_start(content: bytes | bytearray) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def _flip(random_: random.Random, content: bytearray, first: int, last: int) -> bytes:
    for _ in range(random_.choice([1, 1, 2, 5, 50])):
        place = random_.randrange(min(first, last - 1), last)  # a file without rows has no pages
        content[place] = random_.choice([content[place] ^ (1 << random_.randrange(8)), random_.randrange(256), 0, 255])
    return bytes(content)


def _zero(random_: random.Random, content: bytearray, _: Callable[[], bytes]) -> bytes:
    start = random_.randrange(len(content))
    content[start : start + 200] = bytes(len(content[start : start + 200]))
    return bytes(content)


def _swap_footers(_: random.Random, content: bytearray, make_other: Callable[[], bytes]) -> bytes:
    other = make_other()
    return bytes(content[: _footer_start(content)]) + other[_footer_start(other) :]


def _misstate_footer(random_: random.Random, content: bytearray, _: Callable[[], bytes]) -> bytes:
    length = random_.choice([0, 1, len(content), 2**31 - 1, 2**32 - 1, random_.randrange(len(content))])
    content[-8:-4] = length.to_bytes(4, "little")
    return bytes(content)


def _move(random_: random.Random, content: bytearray, _: Callable[[], bytes]) -> bytes:
    """Some bytes taken out of the middle, or put in: every place that the footer names is wrong."""
    place = random_.randrange(4, len(content) - 8)
    content[place : place + random_.choice([0, 1, 16])] = random_.choice([b"", b"\x00", b"x" * 16])
    return bytes(content)


_DAMAGES: dict[str, Callable[[random.Random, bytearray, Callable[[], bytes]], bytes]] = {
    "flips in the pages": lambda random_, content, _: _flip(random_, content, 4, _footer_start(content)),
    "flips in the footer": lambda random_, content, _: _flip(
        random_, content, _footer_start(content), len(content) - 8
    ),
    "flips in the head and the tail": lambda random_, content, _: _flip(
        random_, content, *random_.choice([(0, 8), (len(content) - 8, len(content))])
    ),
    "flips anywhere": lambda random_, content, _: _flip(random_, content, 0, len(content)),
    "zeros": _zero,
    "cut": lambda random_, content, _: bytes(content[: random_.randrange(len(content))]),
    "head cut": lambda random_, content, _: bytes(content[random_.randrange(1, len(content)) :]),
    "footer of another file": _swap_footers,
    "length of the footer misstated": _misstate_footer,
    "bytes moved": _move,
    "something behind it": lambda random_, content, make_other: (
        bytes(content) + random_.choice([b"\x00", b"\n", make_other()])
    ),
}


def write_sound_file(random_: random.Random, connection: duckdb.DuckDBPyConnection, path: Path) -> bytes:
    """The valid day as a Parquet file, stored in some way."""
    write_columns(random_, connection, {name: _quote(name) for name in EVENT_COLUMNS}, path)
    return path.read_bytes()


def _sound(connection: duckdb.DuckDBPyConnection, expression: str, otherwise: str) -> str:
    """The expression, or, where DuckDB cannot compute it over `base`, the other one."""
    try:
        connection.sql(f"select {expression} as x from base").fetchall()
    except (duckdb.Error, UnicodeDecodeError, RuntimeError):
        return otherwise
    return expression


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
