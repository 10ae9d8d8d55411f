"""Batch invariance: whatever order and portions days arrive in, the marts equal those of one full rebuild."""

from __future__ import annotations

import datetime as dt
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ingest.job import load_changed_days
from tests.dbt_project.invariance import check_invariance, is_broken
from tests.dbt_project.planted_faults import FAULTS, FaultyProject
from tests.dbt_project.recorded_builds import RecordedBuilds
from tests.dbt_project.scenario_reduction import reduce_scenario
from tests.dbt_project.shop_scenarios import Act, Delivery, Scenario, Visit, scenarios, write_delivery

# Without these variables, the same scenarios in every run. By hand, more and other ones, compared after each build:
# INVARIANCE_EXAMPLES=300 INVARIANCE_AT_EACH_BUILD=1 .venv/bin/pytest -n 0 tests/dbt_project/test_batch_invariance.py
_EXAMPLES = os.environ.get("INVARIANCE_EXAMPLES")
_AT_EACH_BUILD = bool(os.environ.get("INVARIANCE_AT_EACH_BUILD"))
_NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)

_found: dict[Scenario, Scenario] = {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(
    max_examples=int(_EXAMPLES or 4),
    derandomize=_EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # a failing scenario is cut down by what it is made of, not by the choices it was drawn from
    phases=[Phase.generate],
)
@given(scenario=scenarios())
def test_any_portions_in_any_order_equal_a_full_rebuild(builds: RecordedBuilds, scenario: Scenario) -> None:
    def fails(candidate: Scenario) -> bool:
        return is_broken(builds, candidate, at_each_build=_AT_EACH_BUILD)

    if fails(scenario):
        if scenario not in _found:  # hypothesis runs what failed once more
            _found[scenario] = reduce_scenario(scenario, fails)
        check_invariance(builds, _found[scenario], at_each_build=_AT_EACH_BUILD)


def test_dbt_sends_what_was_recorded(builds: RecordedBuilds) -> None:
    """The builds of these tests are dbt's, but for the list of touched days."""
    scenario = Scenario(
        (Visit("phone", 0, "23:50", 1, (Act("page_view"), Act("purchase", 12, transaction_id="T1", amount=5.0))),),
        ((Delivery(0),), (Delivery(1),)),
    )
    check_invariance(builds, scenario)
    again = [[Delivery(0, version="corrected"), Delivery(2)], [Delivery(0, kind="fresh")], [Delivery(3)]]
    for portion, full_rebuild in zip(again, (False, False, True), strict=True):  # the second touches no day
        for delivery in portion:
            write_delivery(builds.export, scenario, delivery)
        load_changed_days(builds.settings, progress=False)
        builds.check_recording(now=_NOW, full_rebuild=full_rebuild)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> FaultyProject:
    """A copy of the dbt project to plant faults in."""

    return FaultyProject(tmp_path_factory.mktemp("faulty"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_caught(builds: RecordedBuilds, faulty: FaultyProject, name: str) -> None:
    scenario = FAULTS[name].scenario
    check_invariance(builds, scenario)
    with pytest.raises(AssertionError, match="the marts depend on how the days arrived"):
        check_invariance(faulty.plant(name), scenario)
