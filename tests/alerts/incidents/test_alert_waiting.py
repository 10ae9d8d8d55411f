"""Nobody's answer waits for a check's statistics."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from alert_warehouse import Segment, ShopDay, date_of, publish
from conftest import BOUND_RULES

from alerts.incidents.answers import answer
from alerts.incidents.runs import report_task_failure
from alerts.incidents.store import read_incidents
from alerts.state import open_alerts
from foundation.settings import PROJECT_DIR, Settings

CHANNELS = [f"channel {number:02d}" for number in range(20)]
GOOD = ShopDay([Segment(channel=name, sessions=300, carts=100, abandoned=65) for name in CHANNELS])
BAD = ShopDay([Segment(channel=name, sessions=300, carts=100, abandoned=95) for name in CHANNELS])
TASK = "task-20260810-ga4_pipeline-publish"
# without the delivery, which draws fifty charts and holds no lock meanwhile
CHECK = """
import datetime as dt, sys
from alerts.incidents.check import check_rules
from foundation.settings import load_settings
check_rules(load_settings(), run_id="r", as_of=dt.datetime.fromisoformat(sys.argv[1]))
"""


def test_an_answer_gets_through_within_a_second_while_fifty_incidents_are_checked(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    book = yaml.safe_load(BOUND_RULES.read_text(encoding="utf-8"))
    # no channel stands out, so no incident is told in another one's message: each has causes and a chart of its own
    book["rules"] = [{**book["rules"][0], "name": f"carts_{number:02d}"} for number in range(50)]
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(book), encoding="utf-8")
    settings = make_settings()
    publish(settings, [*[GOOD] * 45, BAD])
    report_task_failure(
        settings,
        dag_id="ga4_pipeline",
        task_id="publish",
        run_id="r",
        try_number=1,
        error="disk full",
        log_url=None,
        as_of=dt.datetime(2026, 8, 10, tzinfo=dt.UTC),
    )
    environment = {
        "FUNNELHOUSE_HOME": str(settings.home),
        "FUNNELHOUSE_PROPERTY_TIMEZONE": "UTC",
        "FUNNELHOUSE_ALERT_RULES": str(rules),
    }
    check = subprocess.Popen(
        [sys.executable, "-c", CHECK, f"{date_of(46)}T12:00:00+00:00"],
        cwd=PROJECT_DIR,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    waits: list[float] = []
    while check.poll() is None:
        asked = time.monotonic()
        answer(settings, TASK, "snooze", by="anna", until=dt.date(2100, 1, 1) + dt.timedelta(days=len(waits)))
        waits.append(time.monotonic() - asked)
        time.sleep(0.1)
    assert check.returncode == 0
    with open_alerts(settings) as state:
        found = [each for each in read_incidents(state) if each.kind == "kpi"]
    assert len(found) == 50 and not any(each.folded_into for each in found)
    assert len(waits) >= 5 and max(waits) < 1.0
