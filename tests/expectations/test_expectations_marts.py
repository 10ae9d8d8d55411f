"""The marts and scores suites: every expectation met by a sound build and missed by a broken one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import duckdb
import pytest
from tiny_stores import SCORES, read_results, write_build

from expectations.job import ValidationFailedError, ValidationReport, validate
from expectations.marts import BuildIncompleteError, prepare_marts, prepare_scores
from expectations.scope import open_memory
from expectations.suites import load_suite
from foundation.settings import Settings

# expectation -> severity, statement that breaks the build, what the observation must name
MART_FAULTS: dict[str, tuple[str, str, str]] = {
    "kpi_rates_within_bounds": (
        "fail",
        "update marts.agg_kpis_daily set conversion_rate = 1.5 where kpi_date = '2026-08-03'",
        "2026-08-03 conversion_rate: rate = 1.5",
    ),
    "dimension_rates_within_bounds": (
        "fail",
        "update marts.agg_kpis_daily_by_dimension set cart_abandonment_rate = 'nan' where kpi_date = '2026-08-04'",
        "2026-08-04 device_category=mobile cart_abandonment_rate: rate = nan",
    ),
    "session_ids_present": (
        "fail",
        "insert into marts.fct_sessions values (null, '2026-08-05', 1, 0)",
        "session_id = None",
    ),
    "session_ids_unique": (
        "fail",
        "insert into marts.fct_sessions values ('web|u3|2', '2026-08-05', 1, 0)",
        "web|u3|2",
    ),
    "sessions_have_events": (
        "fail",
        "insert into marts.fct_sessions values ('web|empty|1', '2026-08-05', 0, 0)",
        "web|empty|1: events = 0",
    ),
    "events_in_one_session": (
        "fail",
        "update marts.fct_sessions set event_count = 3 where session_id = 'web|u1|0'",
        "all dates: events_off_sessions = -1",
    ),
    "raw_rows_as_in_ledger": (
        "fail",
        "update ops.ingest_ledger set row_count = 13 where event_date = '2026-08-03'",
        "2026-08-03: raw_rows_off_ledger = -1",
    ),
    "raw_rows_accounted_for": (
        "fail",
        "update ops.event_counts set duplicate_rows = 0 where event_date = '2026-08-04'",
        "2026-08-04: raw_rows_off_counts = 1",
    ),
    "staged_rows_as_counted": (
        "fail",
        "insert into staging.parsed (event_date, session_id) values ('2026-08-05', 'web|u3|0')",
        "2026-08-05: staged_rows_off_counts = 1",
    ),
    "quarantined_rows_as_counted": (
        "fail",
        "delete from ops.quarantined_events where event_date = '2026-08-03'",
        "2026-08-03: quarantined_rows_off_counts = -1",
    ),
    "kpi_sessions_as_in_sessions": (
        "fail",
        "update marts.agg_kpis_daily set sessions = 2 where kpi_date = '2026-08-04'",
        "2026-08-04: kpi_sessions_off = -1",
    ),
    "session_revenue_is_purchases": (
        "fail",
        "update marts.fct_sessions set revenue_usd = revenue_usd + 0.02 where session_id = 'web|u1|0'",
        "2026-08-03: session_revenue_off_usd = 0.02",
    ),
    "total_session_revenue_is_purchases": (
        "fail",
        "update marts.fct_sessions set revenue_usd = revenue_usd + 0.02 where session_id = 'web|u1|0'",
        "all dates: session_revenue_off_usd = 0.02",
    ),
    "kpi_revenue_is_purchases": (
        "fail",
        "update marts.agg_kpis_daily set revenue_usd = 0 where kpi_date = '2026-08-05'",
        "2026-08-05: kpi_revenue_off_usd = -50.5",
    ),
    "total_kpi_revenue_is_purchases": (
        "fail",
        "delete from marts.agg_kpis_daily where kpi_date = '2026-08-05'",
        "all dates: kpi_revenue_off_usd = -50.5",
    ),
    "purchases_have_sessions": (
        "fail",
        "insert into marts.fct_purchases values ('p9', 'web|nobody|1', '2026-08-05', 0)",
        "all dates: purchases_without_session = 1",
    ),
    "purchases_follow_checkouts": (
        "warn",
        "update marts.agg_kpis_daily set sessions_with_begin_checkout = 0 where kpi_date = '2026-08-03'",
        "2026-08-03: purchases_beyond_checkouts = 1",
    ),
    "orders_have_ids": (
        "warn",
        "update staging.stg_ga4__events_parsed set placeholder_transaction_id = 'undefined' "
        "where event_date > '2026-08-03'",
        "undefined: events = 2",
    ),
    "data_is_fresh": (
        "warn",
        "update ops.build_info set as_of = '2026-08-09 07:00:00'",
        "all dates: days_behind = 4",
    ),
}

SCORE_FAULTS: dict[str, tuple[str, str, str]] = {
    "full_propensity_within_bounds": (
        "fail",
        "update marts.fct_session_scores set propensity_full = 1.01 where session_id = 'web|u1|0'",
        "web|u1|0: propensity_full = 1.01",
    ),
    "precheckout_propensity_within_bounds": (
        "fail",
        "update marts.fct_session_scores set propensity_precheckout = -0.5 where session_id = 'web|u1|1'",
        "web|u1|1: propensity_precheckout = -0.5",
    ),
    "scored_sessions_unique": (
        "fail",
        "insert into marts.fct_session_scores (session_id, scored_at) values ('web|u1|2', '2026-08-06')",
        "web|u1|2",
    ),
    "every_session_scored": (
        "fail",
        "update marts.fct_session_scores set scored_at = null where session_id = 'web|u2|0'",
        "all sessions: sessions_without_scores = 1",
    ),
    "scores_as_predicted": (
        "fail",
        "update ml.session_predictions set scored_at = '2026-08-07' where session_id = 'web|u2|1'",
        "all sessions: predictions_off_scores = 2",  # and the one that was never scored
    ),
    "only_sessions_scored": (
        "fail",
        "insert into marts.fct_session_scores (session_id) values ('web|gone|1')",
        "all sessions: scores_without_session = 2",
    ),
    "scores_as_many_as_sessions": (
        "fail",
        "insert into marts.fct_session_scores (session_id) values ('web|gone|2')",
        "all sessions: rows_off_sessions = ",
    ),
    "full_propensity_where_model_scored": (
        "fail",
        "update marts.fct_session_scores set propensity_full = null where session_id = 'web|u3|0'",
        "all sessions: versions_without_propensity = 1",
    ),
    "champions_used": (
        "warn",
        "insert into ops.refused_models values ('segments', '2026', 'its file has changed')",
        "segments: reason = its file has changed",
    ),
}


@pytest.fixture(scope="module")
def sound(make_home: Callable[..., Settings]) -> tuple[Settings, ValidationReport, ValidationReport]:
    """A sound build, validated before and after scoring."""
    settings = make_home()
    write_build(settings, *SCORES)
    return (
        settings,
        validate(settings, "marts", run_id="sound-marts"),
        validate(settings, "scores", run_id="sound-scores"),
    )


@pytest.fixture(scope="module")
def broken_marts(make_home: Callable[..., Settings]) -> tuple[Settings, ValidationFailedError]:
    """A build with every fault at once, but those that hide another."""
    settings = make_home()
    hiding = {"total_kpi_revenue_is_purchases", "total_session_revenue_is_purchases"}
    hiding |= {"session_ids_present", "session_ids_unique"}
    write_build(settings, *(fault[1] for name, fault in MART_FAULTS.items() if name not in hiding))
    with pytest.raises(ValidationFailedError) as caught:
        validate(settings, "marts", run_id="broken")
    return settings, caught.value


@pytest.fixture(scope="module")
def broken_further(make_home: Callable[..., Settings]) -> Settings:
    """A build with the faults that hide another."""
    settings = make_home()
    names = ("session_ids_present", "session_ids_unique", "total_kpi_revenue_is_purchases")
    write_build(settings, *(MART_FAULTS[name][1] for name in names))
    with pytest.raises(ValidationFailedError):
        validate(settings, "marts", run_id="broken")
    return settings


@pytest.fixture(scope="module")
def broken_scores(make_home: Callable[..., Settings]) -> Settings:
    """Scores with every fault at once."""
    settings = make_home()
    write_build(settings, *SCORES, *(fault[1] for fault in SCORE_FAULTS.values()))
    with pytest.raises(ValidationFailedError):
        validate(settings, "scores", run_id="broken")
    return settings


def test_faults_cover_suites() -> None:
    assert set(MART_FAULTS) == {expectation.name for expectation in load_suite("marts").expectations}
    assert set(SCORE_FAULTS) == {expectation.name for expectation in load_suite("scores").expectations}


@pytest.mark.parametrize("name", MART_FAULTS)
def test_sound_marts_meet(name: str, sound: tuple[Settings, ValidationReport, ValidationReport]) -> None:
    row = read_results(sound[0], "sound-marts")[name]
    assert (row["success"], row["severity"]) == (1, MART_FAULTS[name][0]), row["observed"]


@pytest.mark.parametrize("name", MART_FAULTS)
def test_broken_marts_miss(
    name: str, broken_marts: tuple[Settings, ValidationFailedError], broken_further: Settings
) -> None:
    severity, _, named = MART_FAULTS[name]
    further = name in {"session_ids_present", "session_ids_unique", "total_kpi_revenue_is_purchases"}
    row = read_results(broken_further if further else broken_marts[0], "broken")[name]
    assert (row["success"], row["severity"]) == (0, severity), row["observed"]
    assert named in row["observed"]


@pytest.mark.parametrize("name", SCORE_FAULTS)
def test_sound_scores_meet(name: str, sound: tuple[Settings, ValidationReport, ValidationReport]) -> None:
    row = read_results(sound[0], "sound-scores")[name]
    assert (row["success"], row["severity"]) == (1, SCORE_FAULTS[name][0]), row["observed"]


@pytest.mark.parametrize("name", SCORE_FAULTS)
def test_broken_scores_miss(name: str, broken_scores: Settings) -> None:
    severity, _, named = SCORE_FAULTS[name]
    row = read_results(broken_scores, "broken")[name]
    assert (row["success"], row["severity"]) == (0, severity), row["observed"]
    assert named in row["observed"]


def test_warnings_do_not_stop(broken_marts: tuple[Settings, ValidationFailedError]) -> None:
    report = broken_marts[1].report
    unmet = [miss.name for miss in report.results if not miss.stops]
    assert unmet == ["purchases_follow_checkouts", "data_is_fresh", "orders_have_ids"]
    assert "data_is_fresh" not in str(broken_marts[1])


def test_reports_say_what_was_looked_at(sound: tuple[Settings, ValidationReport, ValidationReport]) -> None:
    assert sound[1].scope == "3 dates, 9 sessions, 3 quarantined rows"
    assert sound[2].scope == "9 scored sessions"


def test_build_file_is_free_afterwards(sound: tuple[Settings, ValidationReport, ValidationReport]) -> None:
    # another process may write only when no connection of this one is left
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('create or replace table ops.probe (i int)')"
    subprocess.run([sys.executable, "-c", code, str(sound[0].build_path)], check=True, timeout=60)


def test_incomplete_builds_are_named(settings: Settings) -> None:
    with pytest.raises(BuildIncompleteError, match="no build has started"):
        validate(settings, "marts", run_id="none")
    write_build(settings, "drop table ops.event_counts", "drop table marts.agg_kpis_daily")
    with pytest.raises(BuildIncompleteError, match=r"lacks marts\.agg_kpis_daily, ops\.event_counts"):
        validate(settings, "marts", run_id="incomplete")


NO_MODEL = "update ml.session_predictions set propensity_full = null, propensity_full_version = null"


@pytest.mark.parametrize("statements", [(), (*SCORES, NO_MODEL), (SCORES[0], "delete from ml.session_predictions")])
def test_unscored_build_passes_and_says_so(settings: Settings, statements: tuple[str, ...]) -> None:
    write_build(settings, *statements)
    report = validate(settings, "scores", run_id="unscored")
    assert (report.success, report.notes) == (True, ["No model has scored a session yet."])


def test_an_unscored_build_whose_champions_were_refused_says_so(settings: Settings) -> None:
    write_build(settings, *SCORES, NO_MODEL, "insert into ops.refused_models values ('segments', '2026', 'damaged')")
    report = validate(settings, "scores", run_id="refused")
    assert report.notes != ["No model has scored a session yet."]
    assert read_results(settings, "refused")["champions_used"]["success"] == 0


def test_predictions_without_scores_are_an_error(settings: Settings) -> None:
    write_build(settings, SCORES[0])
    with (
        open_memory(settings) as (_, connection),
        pytest.raises(BuildIncompleteError, match=r"lacks marts\.fct_session_scores"),
    ):
        prepare_scores(connection, settings)


def test_a_rate_is_found_by_its_name(settings: Settings) -> None:
    tables = ("marts.agg_kpis_daily", "marts.agg_kpis_daily_by_dimension")
    new = [f"alter table {table} add column return_rate double; update {table} set return_rate = 2" for table in tables]
    write_build(settings, *new)
    with open_memory(settings) as (_, connection):
        prepare_marts(connection, settings)
        for table in ("rates", "dimension_rates"):
            found = f"select distinct rate_name from {table} where rate > 1"
            assert connection.execute(found).fetchall() == [("return_rate",)]


def test_date_that_one_table_lacks_is_seen(settings: Settings) -> None:
    write_build(settings, "insert into ops.ingest_ledger values ('2026-08-06', 5)")
    with open_memory(settings) as (_, connection):
        prepare_marts(connection, settings)
        rows = connection.execute("select subject from dates where raw_rows_off_ledger != 0").fetchall()
    assert rows == [("2026-08-06",)]


def test_age_is_counted_in_the_property_zone(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(property_timezone="America/Los_Angeles")
    write_build(settings, "update ops.build_info set as_of = '2026-08-09 05:00:00'")  # still the 8th there
    with open_memory(settings) as (_, connection):
        prepare_marts(connection, settings)
        assert connection.execute("select days_behind from totals").fetchall() == [(3,)]


def test_validation_writes_nothing_into_the_build(settings: Settings) -> None:
    write_build(settings)
    before = settings.build_path.read_bytes()
    with open_memory(settings) as (_, connection):
        prepare_marts(connection, settings)
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            connection.execute("delete from warehouse.marts.fct_sessions")
    assert settings.build_path.read_bytes() == before
