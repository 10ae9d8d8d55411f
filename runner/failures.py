"""Why a task failed, from its log: the exception and where it was raised, without what libraries add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation.settings import PROJECT_DIR

LAST_LINES = 15
# Airflow's own marks of sections, which fold them on its page
_MARKS = ("::group::", "::endgroup::")
# tells Airflow not to try again, and nothing to people
_WRAPPERS = ("AirflowFailException",)


def explain_failure(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last exception of a log, as Airflow's API gives it; where there is none, the last lines.

    Each entry has an `event`, the text, and may have `error_detail`, the exception and then what caused it.
    """
    for entry in reversed(entries):
        if entry.get("error_detail"):
            return _explain_exception(entry["error_detail"])
    lines = [line for entry in entries for line in str(entry.get("event", "")).splitlines()]
    return [line for line in lines if line and not line.startswith(_MARKS)][-LAST_LINES:]


def _explain_exception(chain: Sequence[Mapping[str, Any]]) -> list[str]:
    raised = chain[0]
    text = str(raised.get("exc_value") or "").splitlines()
    kind = str(raised.get("exc_type"))
    lines = text if kind in _WRAPPERS and text else [f"{kind}: {text[0] if text else ''}", *text[1:]]
    return [*lines, *_find_place(raised.get("frames") or [])]


def _find_place(frames: Sequence[Mapping[str, Any]]) -> list[str]:
    """The innermost line of the project's own code."""
    for frame in reversed(frames):
        path = Path(str(frame.get("filename")))
        if path.is_relative_to(PROJECT_DIR) and "site-packages" not in path.parts:
            return [f"(raised in {path.relative_to(PROJECT_DIR)}, line {frame.get('lineno')})"]
    return []
