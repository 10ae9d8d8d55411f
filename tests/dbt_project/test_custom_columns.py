"""What `ga4.yml` names becomes columns, for all days; a change of the file makes these anew and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from foundation.settings import Settings
from ingest.flatten import flatten_lake
from ingest.place import hold_lake
from tests.dbt_runner import build_and_publish, query, snapshot
from tests.lake_writer import make_event, write_day
from warehouse.build import dbt_environment
from warehouse.fingerprint import dbt_vars
from warehouse.ga4_config import CUSTOM_TABLES
from warehouse.transaction import LakeOutdatedError, begin, plan_build

CONFIG = """
event_parameters:
  - {name: plan, description: "Plan of the visitor's choice."}
  - {name: articles, type: integer}
  - {name: is premium, type: boolean, as: is_premium}
  - {name: worth, type: number, events: [generate_lead]}
user_properties:
  - {name: tier}
session_properties:
  - {of: plan, take: first}
  - {of: plan, take: last}
  - {of: articles, take: max}
  - {of: is_premium, take: any}
key_events:
  - {event: generate_lead, value: worth}
  - {event: sign_up, counting: once_per_session, value: 3}
"""
OTHER_CONFIG = """
event_parameters:
  - {name: articles, as: plan}
  - {name: colour}
user_properties:
  - {name: tier, as: level}
session_properties:
  - {of: colour, take: last}
key_events:
  - {event: sign_up}
"""


def tier(value: str) -> list[dict[str, Any]]:
    """The user properties of an event."""
    return [{"key": "tier", "value": {"string_value": value, "set_timestamp_micros": 1}}]


def write_days(settings: Settings) -> None:
    """Two visitors on two days, one of whom logs in on another device."""
    first = [
        make_event("page_view", "2026-08-01T10:00:00", params={"plan": "basic", "articles": 3, "colour": "red"}),
        make_event("generate_lead", "2026-08-01T10:01:00", params={"worth": 10.5, "is premium": "yes"}),
        make_event(
            "generate_lead",
            "2026-08-01T10:02:00",
            params={"worth": "2", "articles": "12"},
            user_properties=tier("silver"),
        ),
        make_event("click", "2026-08-01T10:03:00", params={"plan": "pro", "articles": "many", "worth": 99.0}),
        make_event("sign_up", "2026-08-01T10:04:00", params={"is premium": "no"}, user_id="7"),
        make_event("sign_up", "2026-08-01T10:05:00", user_id="7", user_properties=tier("gold")),
        make_event("page_view", "2026-08-01T10:00:00", user="other"),
    ]
    second = [
        make_event(
            "page_view", "2026-08-02T09:00:00", user="phone", session=2, user_id="7", user_properties=tier("none")
        ),
        make_event("page_view", "2026-08-02T11:00:00", session=2, params={"articles": 4.5, "is premium": "perhaps"}),
    ]
    write_day(settings, "2026-08-01", first)
    write_day(settings, "2026-08-02", second)


def configure(settings: Settings, text: str) -> None:
    """Let `ga4.yml` read like this; the lake has what it names."""
    settings.ga4_config.write_text(text, encoding="utf-8")
    with hold_lake(settings):
        flatten_lake(settings)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse over these days."""
    folder = tmp_path_factory.mktemp("custom")
    settings = Settings(home=folder / "home", property_timezone="UTC", ga4_config=folder / "ga4.yml")
    settings.ga4_config.write_text(CONFIG, encoding="utf-8")
    write_days(settings)
    build_and_publish(settings)
    return settings


def test_events_have_parameters_and_user_properties(built: Settings) -> None:
    rows = query(
        built,
        "select event_name, plan, articles, is_premium, worth, tier from marts.fct_events "
        "where user_pseudo_id = 'user' order by event_at, event_id",
    )
    assert rows == [
        ("page_view", "basic", 3, None, None, None),
        ("generate_lead", None, None, True, 10.5, None),
        ("generate_lead", None, 12, None, 2.0, "silver"),
        ("click", "pro", None, None, None, None),  # its worth is no generate_lead's
        ("sign_up", None, None, False, None, None),
        ("sign_up", None, None, None, None, "gold"),
        ("page_view", None, None, None, None, None),  # 4.5 articles, and premium perhaps
    ]


def test_sessions_have_properties_and_key_events(built: Settings) -> None:
    columns = (
        "first_plan, last_plan, max_articles, any_is_premium, tier, generate_lead_count, has_generate_lead, "
        "generate_lead_value_usd, sign_up_count, has_sign_up, sign_up_value_usd"
    )
    rows = query(built, f"select {columns} from marts.fct_sessions order by session_date, user_pseudo_id desc")
    nothing = (0, False, 0.0, 0, False, 0.0)
    assert rows == [
        ("basic", "pro", 12, True, "gold", 2, True, 12.5, 1, True, 3.0),
        (None, None, None, None, None, *nothing),
        (None, None, None, None, None, *nothing),
        (None, None, None, None, "none", *nothing),
    ]


def test_people_have_what_was_set_last_on_any_device(built: Settings) -> None:
    assert dict(query(built, "select user_key, tier from marts.dim_users")) == {"user|7": "none", "device|other": None}


def test_key_events_are_kpis(built: Settings) -> None:
    columns = "sessions, generate_lead_count, generate_lead_rate, generate_lead_value_usd, sign_up_count, sign_up_rate"
    assert query(built, f"select {columns} from marts.agg_kpis_daily order by kpi_date") == [
        (2, 2, 0.5, 12.5, 1, 0.5),
        (2, 0, 0.0, 0.0, 0, 0.0),
    ]
    by_device = "marts.agg_kpis_daily_by_dimension where dimension = 'device_category' order by kpi_date"
    assert query(built, f"select {columns} from {by_device}")[0] == (2, 2, 0.5, 12.5, 1, 0.5)


def test_values_of_another_type_are_counted_with_an_example(built: Settings) -> None:
    rows = query(
        built, "select event_date::text, column_name, wanted_type, misfit_rows, example from ops.parameter_misfits"
    )
    assert sorted(rows) == [
        ("2026-08-01", "articles", "integer", 1, "many"),
        ("2026-08-02", "articles", "integer", 1, "4.5"),
        ("2026-08-02", "is_premium", "boolean", 1, "perhaps"),
    ]


def test_columns_are_described(built: Settings) -> None:
    rows = query(
        built,
        "select table_name, comment from duckdb_columns() "
        "where schema_name = 'marts' and column_name in ('plan', 'tier')",
    )
    assert sorted(rows) == [
        ("dim_users", "User property tier. As last set."),
        ("fct_events", "Plan of the visitor's choice."),
        ("fct_events", "User property tier."),
        ("fct_sessions", "User property tier. As last set in the session."),
    ]


def test_a_change_makes_its_columns_anew_and_nothing_else(
    built: Settings, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    with duckdb.connect(str(built.published_path)) as connection:
        # whoever makes these rows anew loses the mark
        connection.execute("update intermediate.int_session_facts set browser = 'MARK'")
        connection.execute("update staging.stg_ga4__events_parsed set browser_version = 'MARK'")
    built.ga4_config.write_text(OTHER_CONFIG, encoding="utf-8")
    assert plan_build(built).reasons == ["what ga4.yml names has changed"]
    with pytest.raises(LakeOutdatedError, match=r"lack columns .* run `python -m ingest`"):
        begin(built, run_id="too early")
    configure(built, OTHER_CONFIG)
    build_and_publish(built)
    assert plan_build(built).reasons == []
    assert query(built, "select distinct browser from marts.fct_sessions") == [("MARK",)]
    assert query(built, "select distinct browser_version from staging.stg_ga4__events_parsed") == [("MARK",)]
    fresh = make_settings(ga4_config=built.ga4_config)
    write_days(fresh)
    build_and_publish(fresh)
    kept, whole = snapshot(built), snapshot(fresh)
    for name, schema in CUSTOM_TABLES.items():
        if schema != "ops" and not name.startswith("agg_kpis_daily_by"):  # in which the mark is a value
            assert kept[f"{schema}.{name}"] == whole[f"{schema}.{name}"], name
    custom = "select session_id, last_colour, level, sign_up_count, has_sign_up from marts.fct_sessions order by 1"
    assert query(built, custom) == query(fresh, custom)
    commented = "select table_name, column_name, comment from duckdb_columns() where comment is not null order by all"
    assert query(built, commented) == query(fresh, commented)


def test_a_late_key_event_reaches_the_kpis_of_its_day(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    """Though nothing else of the session has changed."""
    config = tmp_path / "ga4.yml"
    config.write_text(CONFIG, encoding="utf-8")
    settings = make_settings(ga4_config=config)

    def write(worth: float) -> None:
        params = {"worth": worth}
        write_day(settings, "2026-08-01", [make_event("page_view", "2026-08-01T23:58:00")])
        write_day(settings, "2026-08-02", [make_event("generate_lead", "2026-08-02T00:02:00", params=params)])

    write(1.0)
    build_and_publish(settings)
    write(2.0)
    build_and_publish(settings)
    rows = query(settings, "select kpi_date::text, generate_lead_value_usd from marts.agg_kpis_daily order by 1")
    assert rows == [("2026-08-01", 2.0), ("2026-08-02", 0.0)]


def test_a_change_can_reach_no_other_table(tmp_path: Path) -> None:
    """By the SQL that dbt sends: it differs for views, which are all made anew, and for `CUSTOM_TABLES`."""
    compiled = []
    for text in (CONFIG, OTHER_CONFIG):
        config = tmp_path / "ga4.yml"
        config.write_text(text, encoding="utf-8")
        compiled.append(compile_models(Settings(home=tmp_path / "home", property_timezone="UTC", ga4_config=config)))
    differ = {name for name, sql in compiled[0].items() if sql != compiled[1][name]}
    assert differ >= {"fct_events", "fct_sessions"}
    assert differ - {"base_ga4__events", "fct_events", "fct_sessions"} == set(CUSTOM_TABLES)


def compile_models(settings: Settings) -> dict[str, str]:
    """The SQL of each model of a full build."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    begin(settings, run_id="compile")
    before = dict(os.environ)
    os.environ.update(dbt_environment(settings))
    variables = ["--vars", json.dumps(dbt_vars(settings), sort_keys=True)]
    try:
        seeded = dbtRunner().invoke(["seed", *variables])
        outcome = dbtRunner().invoke(["compile", *variables])
    finally:
        DuckDBConnectionManager.close_all_connections()
        os.environ.clear()
        os.environ.update(before)
    assert seeded.success and outcome.success, outcome.exception
    return {
        result.node.name: result.node.compiled_code
        for result in outcome.result.results
        if result.node.resource_type == "model"
    }
