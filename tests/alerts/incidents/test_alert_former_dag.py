"""What was known of the pipeline as `ga4_daily` goes on as `ga4_pipeline`."""

from __future__ import annotations

import datetime as dt

from alerts.incidents import store
from alerts.incidents.problems import RunProblem, record_problem
from alerts.incidents.runs import report_success
from alerts.state import open_alerts
from foundation.settings import Settings

NOON = dt.datetime(2026, 8, 10, 12, tzinfo=dt.UTC)


def test_open_incidents_and_the_last_success_go_on_under_the_new_name(settings: Settings) -> None:
    with open_alerts(settings) as state:
        store.write_heartbeat(state, "ga4_daily", is_scheduled=True, now=NOON.isoformat())
        for number, task in enumerate(("publish", "build_marts")):
            problem = RunProblem("task_failure", "ga4_daily", task, f"run-{number}", error="disk full")
            record_problem(state, settings, problem, moment=NOON)
    with open_alerts(settings) as state:
        assert store.read_heartbeat(state, "ga4_daily") is None
        beat = store.read_heartbeat(state, "ga4_pipeline")
        assert beat is not None and beat.succeeded_at == NOON
        found = {(each.subject, each.title, each.status) for each in store.read_incidents(state)}
        assert found == {
            ("ga4_pipeline", "ga4_pipeline.publish", "open"),
            ("ga4_pipeline", "ga4_pipeline.build_marts", "open"),
        }
        # the same problem again is no other one
        again = RunProblem("task_failure", "ga4_pipeline", "publish", "run-2", error="disk full")
        record_problem(state, settings, again, moment=NOON)
        assert len(store.read_incidents(state)) == 2
    report_success(
        settings, dag_id="ga4_pipeline", run_id="good", is_scheduled=True, as_of=NOON + dt.timedelta(hours=1)
    )
    with open_alerts(settings) as state:
        assert {each.status for each in store.read_incidents(state)} == {"resolved"}
