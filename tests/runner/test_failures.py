"""What a failed task says is its exception, and not what libraries say after it."""

from __future__ import annotations

from foundation.settings import PROJECT_DIR
from runner.failures import LAST_LINES, explain_failure

OURS = {"filename": str(PROJECT_DIR / "ingest" / "files.py"), "lineno": 155, "name": "_find"}
THEIRS = {
    "filename": str(PROJECT_DIR / ".venv" / "lib" / "site-packages" / "airflow" / "x.py"),
    "lineno": 1,
    "name": "f",
}


def test_the_exception_and_its_place_are_told_and_chatter_is_not() -> None:
    raised = {
        "exc_type": "SourceError",
        "exc_value": "/x does not exist\nset another",
        "frames": [THEIRS, OURS, THEIRS],
    }
    cause = {"exc_type": "FileNotFoundError", "exc_value": "/x", "frames": [THEIRS]}
    entries = [
        {"event": "DAG bundles loaded"},
        {"event": "Task failed with exception", "error_detail": [raised, cause]},
        {"event": "a library closes its connections"},
    ]
    assert explain_failure(entries) == [
        "SourceError: /x does not exist",
        "set another",
        "(raised in ingest/files.py, line 155)",
    ]


def test_the_wrapper_that_forbids_another_try_is_left_out() -> None:
    raised = {"exc_type": "AirflowFailException", "exc_value": "Validation of marts failed", "frames": []}
    assert explain_failure([{"event": "failed", "error_detail": [raised]}]) == ["Validation of marts failed"]


def test_without_an_exception_the_last_lines_are_told() -> None:
    entries = [{"event": "::group::Pre Execute"}, *({"event": f"line {number}"} for number in range(40)), {"event": ""}]
    assert explain_failure(entries) == [f"line {number}" for number in range(40 - LAST_LINES, 40)]


def test_an_exception_without_a_text_has_its_type() -> None:
    assert explain_failure([{"event": "", "error_detail": [{"exc_type": "MemoryError", "exc_value": ""}]}]) == [
        "MemoryError: "
    ]
