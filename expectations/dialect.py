"""A SQLAlchemy dialect that lets Great Expectations read DuckDB: results buffered, columns from the catalogue."""

from __future__ import annotations

from typing import Any

import duckdb
import sqlalchemy
from sqlalchemy import types
from sqlalchemy.dialects.postgresql.base import PGDialect

URL_SCHEME = "duckdb+buffered"

_TYPES: dict[str, type[types.TypeEngine[Any]]] = {
    "BIGINT": types.BigInteger,
    "BOOLEAN": types.Boolean,
    "DATE": types.Date,
    "DOUBLE": types.Float,
    "HUGEINT": types.Numeric,
    "INTEGER": types.Integer,
    "TIMESTAMP": types.DateTime,
    "VARCHAR": types.String,
}


class BufferedCursor:
    """Fetches all rows when it executes, for Great Expectations reads results after it gave the connection back.

    Every result it asks for is small: aggregates, or at most 10,000 unexpected values.
    """

    arraysize = 1
    rowcount = -1
    lastrowid = None

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw
        self._rows: list[tuple[Any, ...]] = []
        self.description: list[tuple[Any, ...]] | None = None

    def execute(self, statement: str, parameters: Any = None) -> None:
        """Run one statement and keep its rows."""
        self._raw.execute(statement, parameters or None)
        self.description = self._raw.description
        self._rows = self._raw.fetchall() if self.description else []

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int = arraysize) -> list[tuple[Any, ...]]:
        """The next `size` rows."""
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All remaining rows."""
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> None:
        """Let go of the rows."""
        self._rows = []


class BufferedConnection:
    """A DuckDB connection as SQLAlchemy wants it: buffered cursors, and no transaction to end."""

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw

    def cursor(self) -> BufferedCursor:
        """A buffered cursor over this connection."""
        return BufferedCursor(self._raw)

    def commit(self) -> None:
        """DuckDB commits each statement."""

    def rollback(self) -> None:
        """DuckDB has rolled back a failed statement."""

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()


class BufferedDialect(PGDialect):
    """PostgreSQL's SQL, which DuckDB speaks, without PostgreSQL's catalogue.

    duckdb-engine's dialect is not used: Great Expectations reads nothing through it (its cursors are unbuffered),
    and what it keeps of duckdb makes the interpreter complain of leaks at exit.
    """

    name = "duckdb"
    driver = "buffered"
    supports_statement_cache = False
    default_paramstyle = "numeric_dollar"

    @classmethod
    def import_dbapi(cls) -> Any:
        """The module whose errors SQLAlchemy wraps."""
        return duckdb

    @classmethod
    def get_pool_class(cls, url: Any) -> type[sqlalchemy.pool.Pool]:
        """No pool: a connection that outlives its use would keep the attached build file open, and locked."""
        return sqlalchemy.pool.NullPool

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect to `kwargs['database']`: a named in-memory database is one database for the whole process."""
        return BufferedConnection(duckdb.connect(kwargs["database"]))

    def initialize(self, connection: Any) -> None:
        """Ask the server nothing, and claim the SQL of PostgreSQL 15."""
        self.default_schema_name = "main"
        self.server_version_info = (15, 0)  # type: ignore[assignment]

    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> bool:
        """Whether the table has columns, so exists (SQLAlchemy's `Dialect.has_table`)."""
        return bool(self.get_columns(connection, table_name, schema))

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """Names and types of a table's columns, in order (SQLAlchemy's `Dialect.get_columns`)."""
        rows = connection.execute(
            sqlalchemy.text(
                "select column_name, data_type, is_nullable from duckdb_columns() "
                "where database_name = current_database() and table_name = :table_name "
                "and schema_name = coalesce(:schema, current_schema()) order by column_index"
            ),
            {"table_name": table_name, "schema": schema},
        ).all()
        return [
            {"name": name, "type": _TYPES.get(data_type, types.NullType)(), "nullable": is_nullable, "default": None}
            for name, data_type, is_nullable in rows
        ]


def register_dialect() -> None:
    """Make `duckdb+buffered://` known to SQLAlchemy."""
    sqlalchemy.dialects.registry.register("duckdb.buffered", __name__, BufferedDialect.__name__)
