"""Names, texts and paths as DuckDB's SQL writes them."""

from __future__ import annotations

from pathlib import Path


def quote_name(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_path(path: Path) -> str:
    """A path as a DuckDB string that means this one file, whatever glob characters its folders hold."""
    return quote_text("".join(f"[{char}]" if char in "*?[" else char for char in str(path)))
