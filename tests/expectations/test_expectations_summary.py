"""What the summary says of the validation."""

from __future__ import annotations

import duckdb

from expectations.summary import summarise_validation


def test_each_suite_is_told_by_its_newest_verdict() -> None:
    with duckdb.connect() as connection:
        connection.execute(
            """
            create schema ops;
            create table ops.validation_results as select * from (values
                ('2026-08-01T07:00:00', 'landing', 'days_are_whole', 1, 'fail', ''),
                ('2026-08-01T08:00:00', 'scores', 'scores_are_calibrated', 1, 'warn', ''),
                ('2026-08-01T07:30:00', 'marts', 'kpis_hold', 0, 'fail', 'long ago'),
                ('2026-08-02T07:30:00', 'marts', 'kpis_hold', 1, 'fail', ''),
                ('2026-08-02T07:30:00', 'marts', 'days_are_usual', 0, 'warn', '3 days')
            ) results(validated_at, suite, expectation, success, severity, observed)
            """
        )
        assert summarise_validation(connection) == [
            "VALIDATION (each suite's newest)",
            "  landing: 1 passed, 0 warned, 0 failed",
            "  marts: 1 passed, 1 warned, 0 failed",
            "  scores: 1 passed, 0 warned, 0 failed",
            "    warning: days_are_usual: 3 days",
        ]
