"""Writes docs/settings.md from the settings class: `python -m foundation.settings_page`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from foundation.settings import PROJECT_DIR, Settings

PAGE = PROJECT_DIR / "docs" / "settings.md"
_HEAD = """\
# Settings

Environment variables, or lines of `.env` in the project's folder; the environment wins. All are optional, and an empty
one counts as unset. An invalid one is refused in one line that names it. [.env.example](../.env.example) is a template.

The server's compose file reads a few more ([deployment.md](deployment.md)). Credentials for S3 and Google come from
their usual variables ([sources.md](sources.md)).

This page is written by `make settings-page`.
"""
_FOOT = """
## Where they are read from

| variable | default | meaning |
|---|---|---|
| `FUNNELHOUSE_ENV_FILE` | `.env` | Another file of settings; from the environment only. |
"""


def render_page() -> str:
    """The page as Markdown: a table for each group of settings."""
    groups = [base for base in reversed(Settings.__mro__) if issubclass(base, BaseModel) and _own_fields(base)]
    return _HEAD + "".join(_render_group(group) for group in groups) + _FOOT


def _own_fields(group: type[BaseModel]) -> dict[str, FieldInfo]:
    named = inspect.get_annotations(group)
    return {name: field for name, field in group.model_fields.items() if name in named and field.description}


def _render_group(group: type[BaseModel]) -> str:
    rows = [
        f"| `FUNNELHOUSE_{name.upper()}` | {_show_default(name, field)} | {field.description} |"
        for name, field in _own_fields(group).items()
    ]
    title = (group.__doc__ or "").strip().rstrip(".")
    return "\n".join([f"\n## {title}", "", "| variable | default | meaning |", "|---|---|---|", *rows, ""])


def _show_default(name: str, field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value == "":
        return "secret, none" if Settings.is_secret(name) else "none"
    if isinstance(value, Path):
        value = value.relative_to(PROJECT_DIR)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main() -> int:
    """Write the page; the exit code."""
    PAGE.write_text(render_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
