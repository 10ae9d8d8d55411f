"""Validates one boundary of a run and stops the run where an expectation of severity fail is not met."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from expectations.checkpoint import Outcome, run_checkpoint
from expectations.landing import prepare_landing
from expectations.marts import prepare_marts, prepare_scores
from expectations.page import write_pages
from expectations.results import record_outcomes
from expectations.scope import Scope, open_memory
from expectations.suites import load_suite
from foundation.errors import FunnelhouseError
from foundation.settings import Settings

SuiteName = Literal["landing", "marts", "scores"]

_PREPARE: dict[str, Callable[[duckdb.DuckDBPyConnection, Settings], Scope]] = {
    "landing": prepare_landing,
    "marts": prepare_marts,
    "scores": prepare_scores,
}


@dataclass(frozen=True)
class Miss:
    """An expectation that was not met. `stops`: it keeps the build from being published."""

    name: str
    severity: str
    stops: bool
    observed: str
    message: str


@dataclass(frozen=True)
class ValidationReport:
    """What one suite found. `passed`, `warned` and `failed` count expectations; `results` are those not met."""

    suite: str
    run_id: str
    success: bool
    passed: int
    warned: int
    failed: int
    scope: str
    notes: list[str]
    results: list[Miss]
    data_docs: str  # the page that shows it all
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        counts = f"{self.passed} passed, {self.warned} warned, {self.failed} failed"
        return f"{self.suite}: {counts} over {self.scope} in {self.seconds:.1f} s"


class ValidationFailedError(FunnelhouseError):
    """An expectation of severity fail was not met; `report` has the details."""

    def __init__(self, report: ValidationReport) -> None:
        self.report = report
        failed = "\n".join(f"  - {miss.message}" for miss in report.results if miss.stops)
        super().__init__(
            f"Validation of {report.suite} failed ({report.headline}); this run publishes nothing, and what was "
            f"published stays.\n{failed}\nData docs: {report.data_docs}"
        )


def validate(settings: Settings, suite: SuiteName, *, run_id: str) -> ValidationReport:
    """Validate the lake's new days (`landing`), the build after dbt (`marts`) or its scores (`scores`).

    Every result is kept in `validation_results` under the run's id; validating again replaces it. Raises
    `ValidationFailedError` where an expectation of severity fail is not met or cannot be evaluated, `LakeFileError`
    for a lake file that is missing or broken, and `BuildIncompleteError` for a build without the tables needed.
    """
    started = time.monotonic()
    declared = load_suite(suite)
    with open_memory(settings) as (database, connection):
        scope = _PREPARE[suite](connection, settings)
        outcomes = [] if scope.is_empty else run_checkpoint(declared, database)
    moment = dt.datetime.now(dt.UTC)
    record_outcomes(settings, suite, outcomes, run_id=run_id, validated_at=moment)
    page = write_pages(settings, declared, outcomes, run_id=run_id, scope=scope.text, moment=moment)
    report = _report(suite, run_id, scope, outcomes, page, time.monotonic() - started)
    if not report.success:
        raise ValidationFailedError(report)
    return report


def _report(
    suite: str, run_id: str, scope: Scope, outcomes: list[Outcome], page: Path, seconds: float
) -> ValidationReport:
    missed = [outcome for outcome in outcomes if not outcome.success]
    failed = sum(outcome.stops for outcome in missed)
    return ValidationReport(
        suite=suite,
        run_id=run_id,
        success=failed == 0,
        passed=len(outcomes) - len(missed),
        warned=len(missed) - failed,
        failed=failed,
        scope=scope.text,
        notes=scope.notes,
        results=[_describe_miss(outcome) for outcome in sorted(missed, key=lambda outcome: not outcome.stops)],
        data_docs=str(page),
        seconds=round(seconds, 2),
    )


def _describe_miss(outcome: Outcome) -> Miss:
    expectation = outcome.expectation
    return Miss(
        name=expectation.name,
        severity=expectation.severity,
        stops=outcome.stops,
        observed=outcome.observed,
        message=f"{expectation.name}: expected: {expectation.description} Observed: {outcome.observed}. "
        f"What to do: {expectation.what_to_do}",
    )
