"""The clock is a day ahead for one run, a day behind for another, and right again: what is published is right."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import dbt.adapters.duckdb  # compiled parts of it look at the clock's type when they are imported
import dbt.cli.main  # noqa: F401
import pytest

from alerts.job import check_and_send, end_run
from foundation.settings import Settings
from ingest.job import load_changed_days
from tests.dbt_runner import query, snapshot
from tests.shifted_clock import clock_shifted
from tests.slack_server import CHANNEL_ID, TOKEN, SlackServer
from warehouse.build import build_marts
from warehouse.transaction import plan_build, publish

DAY = dt.timedelta(days=1)


def run(settings: Settings, run_id: str) -> list[str]:
    """Load, build where there is a reason, publish, check; the reasons."""
    load_changed_days(settings, progress=False)
    reasons = plan_build(settings).reasons
    if reasons:
        build_marts(settings, run_id=run_id)
        publish(settings, run_id=run_id)
    check_and_send(settings, run_id=run_id, watches_schedule=False)
    end_run(settings, dag_id="ga4_pipeline", run_id=run_id, is_scheduled=True)
    return reasons


def write_day(export: Path, date: dt.date, visitors: int) -> None:
    noon = int(dt.datetime.combine(date, dt.time(12), tzinfo=dt.UTC).timestamp())
    events = [
        {
            "event_date": f"{date:%Y%m%d}",
            "event_timestamp": str((noon + number) * 1_000_000),
            "event_name": "page_view",
            "event_params": [{"key": "ga_session_id", "value": {"int_value": str(noon + number)}}],
            "user_pseudo_id": f"{number}.1",
        }
        for number in range(visitors)
    ]
    export.mkdir(exist_ok=True)
    text = "".join(json.dumps(event) + "\n" for event in events)
    (export / f"events_{date:%Y%m%d}.json").write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_clock_that_was_a_day_ahead_and_one_that_was_a_day_behind_leave_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    export, today = tmp_path / "export", dt.datetime.now(dt.UTC).date()
    for age in (3, 2, 1):
        write_day(export, today - age * DAY, visitors=3)
    broken = export / f"events_{today - 4 * DAY:%Y%m%d}.json"
    broken.write_text("{", encoding="utf-8")
    with SlackServer() as slack:
        values = {"source": str(export), "property_timezone": "UTC", "slack_base_url": slack.base_url}
        # a success of a clock that was a day behind looks a day old: an hourly pipeline would be called missed
        settings = Settings(
            home=tmp_path / "home", slack_token=TOKEN, slack_channel=CHANNEL_ID, missed_run_after_hours=30, **values
        )
        provisional = "select kpi_date::varchar, is_provisional from marts.agg_kpis_daily order by 1"
        three_days_ago = (today - 3 * DAY).isoformat()

        with clock_shifted(DAY):
            assert run(settings, "ahead") == ["nothing is published yet"]
        assert query(settings, provisional)[0] == (three_days_ago, False)
        assert [message["text"] for message in slack.messages if broken.name in str(message)]
        told = len(slack.messages)

        assert run(settings, "right") == ["1 days were called complete too early: the clock was ahead"]
        assert query(settings, provisional)[0] == (three_days_ago, True)
        assert run(settings, "right again") == []

        # the day of yesterday comes again, with more rows, and its table is "today's" for a clock that is behind
        write_day(export, today - DAY, visitors=5)
        broken.unlink()
        with clock_shifted(-DAY):
            assert run(settings, "behind") == ["1 days are new, rewritten or gone"]
        assert run(settings, "right at last") == []
        assert query(settings, "select count(*) from marts.fct_sessions") == [(11,)]
        keys = [message["metadata"]["event_payload"]["key"] for message in slack.messages]
        assert len(keys) == len(set(keys)) == told + 1  # the file is gone, and that is told once

    clean = Settings(home=tmp_path / "clean", **values)
    load_changed_days(clean, progress=False)
    build_marts(clean, run_id="clean")
    publish(clean, run_id="clean")
    assert snapshot(settings) == snapshot(clean)
