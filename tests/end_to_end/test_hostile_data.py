"""Whoever knows the measurement id can send any text: no page that people are sent to lets it be more than text."""

from __future__ import annotations

import csv
import datetime as dt
import json
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from alerts.incidents.runs import report_task_failure
from foundation.settings import Settings
from ml.jobs.evaluate import TableOptions, evaluate_table
from tests.chromium import BROWSER, HOSTILE_VALUES, visit
from tests.lake_writer import make_event
from tests.main_job import run_main_job
from warehouse.build import write_docs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to open the pages with"),
]

DAYS, SESSIONS = 18, 60
RULES = """
check_last_days: 7
rules:
  - name: cart_abandonment_rate
    title: Cart abandonment rate
    description: Share of the sessions with something in the cart that ended without a purchase.
    kpi: cart_abandonment_rate
    unit: share
    denominator: sessions_with_add_to_cart
    numerator_label: abandoned carts
    dimensions: [device_category, default_channel_group]
    direction: above
    absolute: {above: 0.85}
    minimum_volume: 5
    z_limit: null
    severity: critical
    owner: shop team
    runbook: docs/runbooks/cart_abandonment_rate.md
"""


def _write_export(folder: Path) -> None:
    """Three weeks in which every text that a visitor can send is hostile, and a file that can't be loaded."""
    folder.mkdir()
    texts = cycle(HOSTILE_VALUES)
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS + 4)
    for index in range(DAYS):
        date = first + dt.timedelta(days=index)
        events: list[dict[str, Any]] = []
        for number in range(SESSIONS):
            hostile = [next(texts) for _ in range(9)]
            columns = {
                "user_id": hostile[0],
                "device": {"category": HOSTILE_VALUES[number % 4], "web_info": {"hostname": hostile[1]}},
                "geo": {"country": hostile[2]},
                "collected_traffic_source": {
                    "manual_source": hostile[3],
                    "manual_medium": hostile[4],
                    "manual_campaign_name": hostile[5],
                },
            }
            names = ["session_start", hostile[6][:40], "page_view", "add_to_cart"]
            names += ["purchase"] if index < DAYS - 3 and number % 5 else []
            for second, name in enumerate(names):
                events.append(
                    make_event(
                        name,
                        f"{date}T12:{number:02}:{10 + second}",
                        user=f"{hostile[7]}.{number}",
                        session=index * SESSIONS + number + 1,
                        params={"page_location": hostile[1], "page_title": hostile[8]},
                        items=[{"item_id": hostile[0], "item_name": hostile[2], "item_category": hostile[3]}],
                        ecommerce={"transaction_id": f"{hostile[4]}{index}.{number}", "purchase_revenue_in_usd": 9.5}
                        if name == "purchase"
                        else None,
                        **columns,
                    )
                )
        text = "".join(json.dumps(event) + "\n" for event in events)
        (folder / f"events_{date:%Y%m%d}.json").write_text(text, encoding="utf-8")
    broken = first - dt.timedelta(days=1)
    (folder / f"events_{broken:%Y%m%d}.json").write_text(HOSTILE_VALUES[0], encoding="utf-8")


def _write_table(path: Path) -> None:
    """A table of one's own with hostile column names and categories, learnable enough for a model card."""
    names = ["when", "label", "views", *HOSTILE_VALUES[:3]]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(names)
        for number in range(4_000):
            views = number * 7919 % 23
            day = dt.date(2026, 1, 1) + dt.timedelta(days=number // 100)
            rows.writerow(
                [
                    day,
                    int((views + number * 31 % 17) > 28),
                    views,
                    *(HOSTILE_VALUES[(number + n) % 8] for n in range(3)),
                ]
            )


def test_pages_that_are_opened_to_script_are_noticed(tmp_path: Path) -> None:
    """What follows would see it, if a page wrote what is in the data as it is."""
    for number, value in enumerate(HOSTILE_VALUES):
        page = f"<!DOCTYPE html><html><head></head><body><table><tr><td>{value}</td></tr></table></body></html>"
        (tmp_path / f"{number}.html").write_text(page)
    visits = visit(tmp_path, sorted(tmp_path.glob("*.html")), tmp_path / "profile")
    assert visits.owned == ["0.html", "2.html", "3.html", "4.html", "7.html"] and set(visits.outside) == {"a.bc"}


def test_no_page_runs_a_visitors_script_or_fetches_from_elsewhere(tmp_path: Path) -> None:
    _write_export(tmp_path / "export")
    (tmp_path / "rules.yml").write_text(RULES)
    settings = Settings(
        home=tmp_path / "home",
        source=str(tmp_path / "export"),
        property_timezone="UTC",
        alert_rules=tmp_path / "rules.yml",
    )
    run_main_job(settings, run_id=HOSTILE_VALUES[0])
    report_task_failure(
        settings,
        dag_id="ga4_pipeline",
        task_id="validate_landing",
        run_id="run",
        try_number=1,
        error="\n".join(HOSTILE_VALUES),
        log_url="javascript:document.documentElement.dataset.owned=1",
    )
    _write_table(tmp_path / "table.csv")
    card = settings.docs_dir / "card"
    options = TableOptions("label", "when", budget=1, out=card)
    assert evaluate_table(tmp_path / "table.csv", options).card
    write_docs(settings)

    pages = sorted(path for path in settings.home.rglob("*.html") if "logs" not in path.parts)
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    # of every kind one, and the hostile texts are in them
    kinds = {page.relative_to(settings.home).parts[:2] for page in pages}
    assert {("docs", "data_docs"), ("docs", "card"), ("docs", "dbt")} <= kinds
    assert sum(page.parts[-3] == "alerts" for page in pages) >= 3
    hostile = [page for page, text in texts.items() if "a.bc" in text or "dataset.owned" in text]
    assert {page.parent.name for page in hostile} >= {"data_docs", "card"} and len(hostile) >= 5
    visits = visit(settings.home, pages, tmp_path / "profile")
    assert (visits.owned, visits.outside) == ([], [])
