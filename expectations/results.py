"""Keeps every expectation's result in the state file, table `validation_results`."""

from __future__ import annotations

import datetime as dt

from expectations.checkpoint import Outcome
from foundation.settings import Settings
from foundation.state import open_state

_CREATE = """
create table if not exists validation_results (
    run_id text not null,
    suite text not null,
    expectation text not null,
    severity text not null,
    success integer not null,
    observed text not null,
    unexpected_count integer,
    description text not null,
    validated_at text not null,
    primary key (run_id, suite, expectation)
)
"""


def record_outcomes(
    settings: Settings, suite: str, outcomes: list[Outcome], *, run_id: str, validated_at: dt.datetime
) -> None:
    """Write the outcomes of a run's suite in place of earlier ones, and drop what is too old.

    The newest result of a suite is the one with the latest moment: earlier ones of a clock that was ahead are moved
    before it.
    """
    oldest = validated_at - dt.timedelta(days=settings.kept_result_days)
    with open_state(settings) as state:
        state.execute(_CREATE)
        state.execute("delete from validation_results where run_id = ? and suite = ?", (run_id, suite))
        state.execute(
            "update validation_results set validated_at = ? where suite = ? and validated_at >= ?",
            (_iso(validated_at - dt.timedelta(seconds=1)), suite, _iso(validated_at)),
        )
        state.executemany(
            "insert into validation_results values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    run_id,
                    suite,
                    outcome.expectation.name,
                    outcome.expectation.severity,
                    int(outcome.success),
                    outcome.observed,
                    outcome.unexpected_count,
                    outcome.expectation.description,
                    _iso(validated_at),
                )
                for outcome in outcomes
            ],
        )
        state.execute("delete from validation_results where validated_at < ?", (_iso(oldest),))


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds")
