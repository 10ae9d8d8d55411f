"""A KPI is added in two files: its formula in a macro, its column in the YAML of the daily tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from expectations.job import ValidationFailedError, validate
from foundation.connect import open_build
from tests.dbt_project.recorded_builds import SettingsOfAnotherProject, copy_project
from tests.lake_writer import make_event, write_day
from warehouse.build import build_marts

# A share only by its name: two views in one session make it 2.
_ENTRY = """
        {
            'name': 'view_rate', 'tables': by_day,
            'formula': safe_divide('sum(page_views)', 'count(*)')
        },"""
_COLUMN = """
      - &view_rate
        name: view_rate
        data_type: double
        description: "Pages viewed / sessions."
"""


def _insert_after(path: Path, place: str, text: str) -> None:
    before = path.read_text(encoding="utf-8")
    assert before.count(place) == 1
    path.write_text(before.replace(place, place + text), encoding="utf-8")


def test_a_kpi_of_macro_and_yaml_is_in_both_tables_and_a_rate_is_held(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    _insert_after(project / "macros" / "project" / "kpis.sql", "set kpis = [", _ENTRY)
    described = project / "models" / "marts" / "core" / "agg_kpis_daily.yml"
    _insert_after(described, 'description: "Bounced sessions / sessions."', _COLUMN.rstrip())
    _insert_after(described, "- *bounce_rate", "\n      - *view_rate")
    settings = SettingsOfAnotherProject(home=tmp_path / "home", property_timezone="UTC", project=project)
    phone, desk = {"device": {"category": "mobile"}}, {"device": {"category": "desktop"}}
    write_day(
        settings,
        "2026-08-01",
        [
            make_event("page_view", "2026-08-01T10:00:00", user="a", **phone),
            make_event("page_view", "2026-08-01T10:00:00", user="b", **desk),
            make_event("scroll", "2026-08-01T11:00:00", user="c", **desk),
        ],
    )
    write_day(
        settings,
        "2026-08-02",
        [make_event("page_view", f"2026-08-02T10:0{minute}:00", user="d", **phone) for minute in (0, 1)],
    )

    build_marts(settings, run_id="new-kpi")
    with open_build(settings, read_only=True) as build:
        assert build.execute(
            "select cast(kpi_date as varchar), view_rate from marts.agg_kpis_daily order by 1"
        ).fetchall() == [("2026-08-01", 2 / 3), ("2026-08-02", 2.0)]
        assert build.execute(
            "select cast(kpi_date as varchar), dimension_value, view_rate from marts.agg_kpis_daily_by_dimension "
            "where dimension = 'device_category' order by 1, 2"
        ).fetchall() == [("2026-08-01", "desktop", 0.5), ("2026-08-01", "mobile", 1.0), ("2026-08-02", "mobile", 2.0)]

    with pytest.raises(ValidationFailedError) as caught:
        validate(settings, "marts", run_id="new-kpi")
    held = {miss.name: miss.observed for miss in caught.value.report.results if miss.stops}
    assert held["kpi_rates_within_bounds"] == "2026-08-02 view_rate: rate = 2"
    assert "2026-08-02 device_category=mobile view_rate: rate = 2" in held["dimension_rates_within_bounds"]
    assert set(held) == {"kpi_rates_within_bounds", "dimension_rates_within_bounds"}
