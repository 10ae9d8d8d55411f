"""What Great Expectations found, for the summary of a run."""

from __future__ import annotations

import textwrap

import duckdb

# a run without new days validates no landing: what counts is each suite's newest verdict
_NEWEST = """
    select * from ops.validation_results
    qualify validated_at = max(validated_at) over (partition by suite)
"""


def summarise_validation(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """How many expectations of each suite passed, and what those that did not have seen."""
    suites = connection.execute(
        f"""
        select suite, count(*) filter (where success = 1), count(*) filter (where success = 0 and severity = 'warn'),
            count(*) filter (where success = 0 and severity = 'fail')
        from ({_NEWEST})
        group by suite order by array_position(['landing', 'marts', 'scores'], suite)
        """
    ).fetchall()
    unmet = connection.execute(
        f"select expectation, observed from ({_NEWEST}) where success = 0 order by suite, expectation"
    ).fetchall()
    return [
        "VALIDATION (each suite's newest)",
        *(f"  {suite}: {passed} passed, {warned} warned, {failed} failed" for suite, passed, warned, failed in suites),
        *(f"    warning: {name}: {textwrap.shorten(str(observed), 160, placeholder=' …')}" for name, observed in unmet),
    ]
