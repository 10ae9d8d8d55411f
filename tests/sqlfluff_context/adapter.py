"""What dbt's `adapter` gives to macros, for sqlfluff, which renders them without dbt (`library_path` in .sqlfluff)."""

from __future__ import annotations

from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

TARGET = "duckdb"


@pass_context
def dispatch(context: Context, name: str, package: str) -> Any:
    """DuckDB's own form of a macro, as dbt chooses it."""
    macro = context.resolve(f"{TARGET}__{name}")
    if not macro:
        raise LookupError(f"no macro {TARGET}__{name} in {package}")
    return macro


def quote(name: str) -> str:
    """A quoted identifier."""
    return f'"{name}"'
