"""Batch invariance: whatever order and portions days arrive in, the marts equal those of one full rebuild."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings

from tests.dbt_project.invariance import check_invariance
from tests.dbt_project.recorded_builds import RecordedBuilds
from tests.dbt_project.shop_scenarios import Scenario, scenarios

# The same scenarios in every run of the tests. More of them, and other ones each time, are for a run by hand:
# FUNNELHOUSE_INVARIANCE_EXAMPLES=300 .venv/bin/pytest -n 0 tests/dbt_project/test_batch_invariance.py
_ASKED_FOR = os.environ.get("INVARIANCE_EXAMPLES")


@settings(
    max_examples=int(_ASKED_FOR or 14),
    derandomize=_ASKED_FOR is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(scenario=scenarios())
def test_any_portions_in_any_order_equal_a_full_rebuild(builds: RecordedBuilds, scenario: Scenario) -> None:
    check_invariance(builds, scenario)
