"""The landing suite: every expectation met by a sound lake and missed by a broken one."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import yaml
from jinja2 import Environment
from tiny_stores import day, read_results, write_day

from expectations.job import ValidationFailedError, ValidationReport, validate
from expectations.landing import LakeFileError, prepare_landing
from expectations.scope import open_memory
from expectations.suites import load_suite
from foundation.settings import PROJECT_DIR, Settings
from ingest.job import load_changed_days
from tests.dbt_project.recorded_builds import SettingsOfAnotherProject
from tests.sqlfluff_context import adapter
from warehouse.lake import SourceFile, partition_dir, read_manifests

# expectation -> severity, and the days or subjects of the broken lake that miss it
FAULTS: dict[str, tuple[str, list[str]]] = {
    "required_columns_exported": ("fail", ["user_pseudo_id"]),
    "column_types_canonical": ("fail", ["event_value_in_usd is VARCHAR instead of DOUBLE"]),
    "rows_as_in_manifest": ("fail", [str(day(46))]),
    "event_names_present": ("fail", [str(day(30))]),
    "event_timestamps_present": ("fail", [str(day(31))]),
    "event_dates_present": ("fail", [str(day(32))]),
    "event_dates_match_partition": ("fail", [str(day(33))]),
    "no_rows_to_quarantine": ("warn", [str(day(number)) for number in (30, 31, 32, 33, 47)]),
    "timestamps_near_day": ("fail", [str(day(34))]),
    "timestamps_rarely_off": ("warn", [str(day(34)), str(day(35))]),
    "users_mostly_identified": ("warn", [str(day(36))]),
    "duplicates_rare": ("warn", [str(day(37))]),
    "event_names_known": ("warn", ["flash_sale (rows: 3, days: 1)"]),
    "daily_tables_have_rows": ("fail", [str(day(39))]),
    "volume_not_collapsed": ("fail", [str(day(39)), str(day(40))]),
    "volume_as_usual": ("warn", [str(day(number)) for number in (39, 40, 41, 42)]),
    "no_day_missing": ("warn", [str(day(43))]),
    "no_new_columns": ("warn", [f"new_column as BIGINT from {day(44)}"]),
    "no_columns_lost": ("warn", [f"publisher from {day(44)}", f"user_pseudo_id from {day(44)}"]),
    "no_retyped_columns": ("warn", [f"stream_id as BIGINT from {day(44)}"]),
}


def first(rows: int, fault: str, otherwise: str) -> str:
    """SQL: the fault in the first rows of a day."""
    return f"case when i < {rows} then {fault} else {otherwise} end"


def write_broken_lake(settings: Settings) -> None:
    """Thirty sound days, then one fault a day."""
    for number in range(30):
        write_day(settings, day(number))
    noon = "epoch_us(timestamp '{}') + i * 1000000"
    write_day(settings, day(30), columns={"event_name": first(2, "if(i = 0, null, '  ')", "'page_view'")})
    write_day(settings, day(31), columns={"event_timestamp": first(2, "null", noon.format(day(31)))})
    write_day(settings, day(32), columns={"event_date": first(2, "null", f"'{day(32):%Y%m%d}'")})
    write_day(settings, day(33), columns={"event_date": first(2, "'20260101'", f"'{day(33):%Y%m%d}'")})
    write_day(settings, day(34), columns={"event_timestamp": first(6, noon.format(day(37)), noon.format(day(34)))})
    write_day(settings, day(35), columns={"event_timestamp": first(1, noon.format(day(37)), noon.format(day(35)))})
    write_day(settings, day(36), columns={"user_pseudo_id": first(61, "null", "'user-1'")})
    copied = f"epoch_us(timestamp '{day(37)} 12:00:00') + greatest(i, 3) * 1000000"
    write_day(
        settings,
        day(37),
        columns={"event_timestamp": copied, "event_name": "'scroll'", "user_pseudo_id": "'user-1'"},
    )
    write_day(settings, day(38), columns={"event_name": first(3, "'flash_sale'", "'page_view'")})
    write_day(settings, day(39), rows=0)
    write_day(settings, day(40), rows=4)
    write_day(settings, day(41), rows=49)
    write_day(settings, day(42), rows=201)
    write_day(
        settings,
        day(44),
        unknown_columns={"new_column": "BIGINT"},
        missing_columns=["publisher", "user_pseudo_id"],
        retyped_columns={"stream_id": "BIGINT"},
    )
    write_day(settings, day(45), types={"event_value_in_usd": "VARCHAR"})
    write_day(settings, day(46), row_count=99)
    write_day(settings, day(47), columns={"event_name": first(1, "null", "'page_view'")})


@pytest.fixture(scope="module")
def sound(make_home: Callable[..., Settings]) -> tuple[Settings, ValidationReport]:
    """A lake of sound days, validated."""
    settings = make_home()
    for number in range(40):
        write_day(settings, day(number))
    return settings, validate(settings, "landing", run_id="sound")


@pytest.fixture(scope="module")
def broken(make_home: Callable[..., Settings]) -> tuple[Settings, ValidationFailedError]:
    """The broken lake, validated."""
    settings = make_home()
    write_broken_lake(settings)
    with pytest.raises(ValidationFailedError) as caught:
        validate(settings, "landing", run_id="broken")
    return settings, caught.value


def test_faults_cover_suite() -> None:
    assert set(FAULTS) == {expectation.name for expectation in load_suite("landing").expectations}


@pytest.mark.parametrize("name", FAULTS)
def test_sound_lake_meets(name: str, sound: tuple[Settings, ValidationReport]) -> None:
    row = read_results(sound[0], "sound")[name]
    assert (row["success"], row["severity"]) == (1, FAULTS[name][0]), row["observed"]


@pytest.mark.parametrize("name", FAULTS)
def test_broken_lake_misses(name: str, broken: tuple[Settings, ValidationFailedError]) -> None:
    severity, subjects = FAULTS[name]
    row = read_results(broken[0], "broken")[name]
    assert (row["success"], row["severity"]) == (0, severity), row["observed"]
    assert row["unexpected_count"] == len(subjects), row["observed"]
    assert [subject for subject in subjects if subject not in row["observed"]] == [], row["observed"]


def test_report_counts_and_notes(sound: tuple[Settings, ValidationReport]) -> None:
    report = sound[1].to_dict()
    assert (report["passed"], report["warned"], report["failed"], report["success"]) == (len(FAULTS), 0, 0, True)
    assert report["scope"] == f"40 days ({day(0)} to {day(39)}), 4,000 rows"
    assert report["notes"] == [
        f"Volume not compared on 7 days (first {day(0)}): fewer than 7 daily tables in the four weeks before."
    ]


def test_error_says_what_and_what_to_do(broken: tuple[Settings, ValidationFailedError]) -> None:
    message = str(broken[1])
    assert "event_names_present" in message
    assert f"{day(30)}: event_name_missing_share = 0.02" in message
    assert "export it again" in message
    assert "what was published stays" in message
    assert "volume_as_usual" not in message  # it only warns
    report = broken[1].report
    fails = sum(severity == "fail" for severity, _ in FAULTS.values())
    assert (report.passed, report.failed, report.warned) == (0, fails, len(FAULTS) - fails)
    assert [miss.stops for miss in report.results] == [True] * fails + [False] * report.warned


def test_column_types_name_a_file(broken: tuple[Settings, ValidationFailedError]) -> None:
    observed = read_results(broken[0], "broken")["column_types_canonical"]["observed"]
    assert f"event_date={day(45)}/part-0.parquet" in observed


def publish(settings: Settings, built: str) -> None:
    """Publish a warehouse that was built from the given partitions (a select of event_date, content_hash)."""
    with duckdb.connect(str(settings.published_path)) as published:
        published.execute("create schema ops")
        published.execute(f"create table ops.built_partitions as {built}")


def select_built(settings: Settings, dates: list[dt.date]) -> str:
    """The partitions of these dates as they are now."""
    manifests = read_manifests(settings)
    rows = ", ".join(f"(date '{date}', '{manifests[date].content_hash}')" for date in dates)
    return f"select * from (values {rows}) as built(event_date, content_hash)"


def test_nothing_new_is_said_and_recorded(settings: Settings) -> None:
    write_day(settings, day(0), columns={"event_name": "null"})
    publish(settings, select_built(settings, [day(0)]))
    report = validate(settings, "landing", run_id="again")
    assert (report.success, report.passed, report.scope) == (True, 0, "no days")
    assert report.notes == ["Nothing new: the published warehouse matches the lake (1 day)."]
    assert read_results(settings, "again") == {}


def test_empty_lake_is_said(settings: Settings) -> None:
    report = validate(settings, "landing", run_id="empty")
    assert report.success
    assert "is empty" in report.notes[0]


def prepared(settings: Settings, query: str) -> list[tuple]:
    """What a query over the suite's tables gives."""
    with open_memory(settings) as (_, connection):
        prepare_landing(connection, settings)
        return connection.execute(query).fetchall()


def test_only_changed_days_are_read(settings: Settings) -> None:
    for number in range(3):
        write_day(settings, day(number))
    publish(settings, select_built(settings, [day(0), day(2)]))
    write_day(settings, day(2), rows=101)
    assert prepared(settings, "select event_date from days order by 1") == [(day(1),), (day(2),)]


def test_a_warehouse_without_built_partitions_means_all_days(settings: Settings) -> None:
    write_day(settings, day(0))
    duckdb.connect(str(settings.published_path)).close()
    assert prepared(settings, "select event_date from days") == [(day(0),)]


def test_volume_is_not_judged_without_history_or_before_the_daily_table(settings: Settings) -> None:
    for number in range(7):
        write_day(settings, day(number))
    write_day(settings, day(7), rows=3, kind="intraday")
    ratios = dict(prepared(settings, "select event_date, volume_ratio from days"))
    assert set(ratios.values()) == {None}
    write_day(settings, day(7), rows=30)
    assert dict(prepared(settings, "select event_date, volume_ratio from days"))[day(7)] == pytest.approx(0.3)


def test_a_day_is_not_short_because_somebody_was_forgotten(settings: Settings) -> None:
    for number in range(8):
        write_day(settings, day(number))
    write_day(settings, day(7), rows=0, forgotten_rows=100)
    rows = prepared(settings, "select daily_rows, volume_ratio, rows_off_manifest from days order by event_date")
    assert rows[-1] == (100, 1.0, 0)


def test_usual_volume_is_the_median_of_the_weekday(settings: Settings) -> None:
    for number in range(28):
        # Tuesdays of 40, 50, 60 and 1000 rows among days of 100
        write_day(settings, day(number), rows={1: 40, 8: 1000, 15: 50, 22: 60}.get(number, 100))
    write_day(settings, day(29), rows=11)
    write_day(settings, day(57), rows=11)  # four weeks later, with too little history
    usual = {
        row[0]: row[1:]
        for row in prepared(settings, "select event_date, usual_rows, volume_ratio, history_days from days")
    }
    assert usual[day(29)] == (55.0, pytest.approx(0.2), 27)
    assert usual[day(57)] == (11.0, None, 1)


@pytest.mark.parametrize(("zone", "expected"), [("Pacific/Auckland", 0.01), ("UTC", 0.0)])
def test_timestamps_are_judged_in_the_property_zone(
    make_settings: Callable[..., Settings], zone: str, expected: float
) -> None:
    settings = make_settings(property_timezone=zone)
    # 23:30 UTC on the day after is already the second day after in Auckland
    late = f"epoch_us(timestamp '{day(1)} 23:30:00')"
    write_day(settings, day(0), columns={"event_timestamp": first(1, late, f"epoch_us(timestamp '{day(0)} 06:00:00')")})
    assert prepared(settings, "select timestamp_outside_share from days") == [(expected,)]


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"earliest_micros_from_event_date": 0, "latest_micros_from_event_date": 43_200_000_000},
        {"earliest_event_timestamp": 1_785_758_400_000_000},
        {"latest_event_timestamp": 1_785_758_400_000_000},
    ],
)
def test_what_is_to_be_quarantined_is_what_dbt_quarantines(tmp_path: Path, bounds: dict[str, int]) -> None:
    """Each row has another date, name or time, right or wrong; the reason is that of the macro itself."""
    project = yaml.safe_load((PROJECT_DIR / "dbt_project" / "dbt_project.yml").read_text())
    assert bounds.keys() <= project["vars"].keys()
    project["vars"] |= bounds
    (tmp_path / "dbt_project.yml").write_text(yaml.safe_dump(project))
    settings = SettingsOfAnotherProject(home=tmp_path / "home", property_timezone="UTC", project=tmp_path)
    date, other = f"{day(0):%Y%m%d}", f"{day(1):%Y%m%d}"
    dates = [
        date,
        f" {date}",
        f"{date} ",
        f"  {date}",
        f"{day(0)}",
        other,
        f" {other}",
        f"{date}x",
        "",
        None,
        "20261301",
    ]
    values = ", ".join("null" if value is None else f"'{value}'" for value in dates)
    names = "list_extract(['page_view', '', '  ', ' x ', '\t'], 1 + i // 20)"
    # hours from noon of the day: the last ones that are taken, and the first that are not
    hours = "list_extract([0, -96, -97, 96, 97, -1000000, 1000000], 1 + i % 7)"
    write_day(
        settings,
        day(0),
        columns={
            "event_date": f"list_extract([{values}], 1 + i % 20)",
            "event_name": names,
            "event_timestamp": f"epoch_us(timestamp '{day(0)} 12:00:00') + 3600000000 * {hours}",
        },
    )
    macros = PROJECT_DIR / "dbt_project" / "macros"
    template = (macros / "engine" / "functions.sql").read_text() + (macros / "project" / "rules.sql").read_text()
    sql = Environment()  # noqa: S701  (SQL, no HTML)
    sql.globals |= {"var": project["vars"].__getitem__, "adapter": adapter, "return": lambda value: value}
    reason = sql.from_string(template + "{{ quarantine_reason() }}").render()
    with duckdb.connect() as connection:
        [(to_quarantine,)] = connection.execute(
            f"select count({reason}) from (select *, '{day(0)}' as lake_day from "
            f"read_parquet('{partition_dir(settings, day(0))}/*.parquet', hive_partitioning = false))"
        ).fetchall()
    assert prepared(settings, "select rows_to_quarantine from days") == [(to_quarantine,)]


def test_params_in_other_values_are_no_duplicates(settings: Settings) -> None:
    value = "{{'string_value': {}, 'int_value': null, 'float_value': null, 'double_value': null}}"
    params = f"[{{{{'key': 'k', 'value': {value}}}}}]"
    same = {"event_timestamp": "1785758400000000", "event_name": "'scroll'", "user_pseudo_id": "'user-1'"}
    write_day(settings, day(0), rows=10, columns={**same, "event_params": params.format("i::varchar")})
    assert prepared(settings, "select duplicate_share from days") == [(0.0,)]
    write_day(settings, day(0), rows=10, columns={**same, "event_params": params.format("'x'")})
    assert prepared(settings, "select duplicate_share from days") == [(0.9,)]


def test_mistyped_required_column_is_reported_not_a_crash(settings: Settings) -> None:
    write_day(settings, day(0), types={"event_timestamp": "VARCHAR"})
    write_day(settings, day(1))
    rows = prepared(settings, "select rows_off_manifest, event_name_missing_share from days order by event_date")
    assert rows == [(None, None), (0, 0.0)]
    assert prepared(settings, "select column_name, files_off_type from columns where files_off_type > 0") == [
        ("event_timestamp", 1)
    ]


def test_a_difference_in_the_schema_is_told_on_the_day_it_begins(settings: Settings) -> None:
    """Days as an old export, a new one and a JSON one make them; one row a change, none for what stays."""
    old = {"missing_columns": ["publisher", "device.vendor_id"]}
    write_day(settings, day(0), **old)
    write_day(settings, day(1), **old)
    write_day(settings, day(2), unknown_columns={"new_id": "BIGINT"})
    write_day(settings, day(4), unknown_columns={"new_id": "VARCHAR"}, retyped_columns={"stream_id": "BIGINT"})
    write_day(settings, day(5), **old, unknown_columns={"new_id": "VARCHAR"}, retyped_columns={"stream_id": "BIGINT"})
    changes = prepared(settings, "select subject, change from schema_changes order by event_date, subject")
    assert changes == [
        (f"device.vendor_id from {day(0)}", "missing"),
        (f"publisher from {day(0)}", "missing"),
        (f"new_id as BIGINT from {day(2)}", "unknown"),
        (f"new_id as VARCHAR from {day(4)} (BIGINT before)", "unknown"),
        (f"stream_id as BIGINT from {day(4)}", "retyped"),
        (f"device.vendor_id from {day(5)}", "missing"),
        (f"publisher from {day(5)}", "missing"),
    ]
    publish(settings, select_built(settings, [day(number) for number in (0, 2, 4, 5)]))
    assert prepared(settings, "select subject from schema_changes") == []  # day 1 is as the built day before it


def test_a_column_that_json_leaves_out_for_a_day_is_no_new_one_after_it(settings: Settings) -> None:
    files = [SourceFile("events.json.gz", 1, None, None, "0")]
    for number, unknown in enumerate([{"new_id": "BIGINT"}, {}, {"new_id": "BIGINT"}]):
        write_day(settings, day(number), unknown_columns=unknown, source_files=files)
    changes = prepared(settings, "select subject, change from schema_changes")
    assert changes == [(f"new_id as BIGINT from {day(0)}", "unknown")]


def test_gap_before_the_first_changed_day_is_seen_but_not_the_lakes_beginning(settings: Settings) -> None:
    write_day(settings, day(0))
    publish(settings, select_built(settings, [day(0)]))
    write_day(settings, day(3))
    assert prepared(settings, "select event_date from gaps") == [(day(2),)]


@pytest.mark.parametrize("remedy", ["rename", "remove"])
def test_what_to_do_about_a_misnamed_file_helps(
    make_settings: Callable[..., Settings], tmp_path: Path, remedy: str
) -> None:
    settings = make_settings(source=str(tmp_path))
    event = {"event_name": "page_view", "event_params": [{"key": "ga_session_id"}], "user_pseudo_id": "1.1"}
    noon = dt.datetime.combine(day(0), dt.time(12), tzinfo=dt.UTC)
    event |= {"event_date": f"{day(0):%Y%m%d}", "event_timestamp": str(int(noon.timestamp()) * 1_000_000)}
    misnamed = tmp_path / f"events_{day(5):%Y%m%d}.json"
    misnamed.write_text(json.dumps(event))
    (tmp_path / f"events_{day(1):%Y%m%d}.json").write_text(
        json.dumps({**event, "event_date": f"{day(1):%Y%m%d}"})  # a day late is no fault
    )
    load_changed_days(settings, progress=False)
    with pytest.raises(ValidationFailedError) as caught:
        validate(settings, "landing", run_id="misnamed")
    misses = {miss.name: miss.message for miss in caught.value.report.results if miss.stops}
    assert set(misses) == {"event_dates_match_partition", "timestamps_near_day"}
    for message in misses.values():
        assert str(day(5)) in message and "name it after the" in message
        assert "delete the day's folder lake/events/event_date=YYYY-MM-DD in FUNNELHOUSE_HOME" in message

    if remedy == "rename":
        misnamed.rename(tmp_path / f"events_{day(0):%Y%m%d}.json")
    else:
        misnamed.unlink()
    shutil.rmtree(settings.home / "lake" / "events" / f"event_date={day(5)}")
    load_changed_days(settings, progress=False)
    assert validate(settings, "landing", run_id="remedied").success
    assert list(read_manifests(settings)) == ([day(0), day(1)] if remedy == "rename" else [day(1)])


def test_missing_and_broken_lake_files_are_named(settings: Settings) -> None:
    write_day(settings, day(0))
    file = partition_dir(settings, day(0)) / "part-0.parquet"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(LakeFileError, match=r"part-0\.parquet.*run again"):
        validate(settings, "landing", run_id="broken")
    file.unlink()
    with pytest.raises(LakeFileError, match=r"part-0\.parquet is listed in the manifest"):
        validate(settings, "landing", run_id="missing")


def test_quoted_paths_are_read(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_settings(home=tmp_path / "it's home")
    write_day(settings, day(0))
    assert prepared(settings, "select rows_off_manifest from days") == [(0,)]
    shutil.rmtree(settings.home)
