"""What every validation does: keeps results, writes data docs, stays off the network, speaks on the command line."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tiny_stores import day, read_results, write_build, write_day

from expectations.__main__ import main
from expectations.checkpoint import Outcome, run_checkpoint
from expectations.job import ValidationReport, validate
from expectations.page import KEPT_RUNS, write_pages
from expectations.results import record_outcomes
from expectations.scope import open_memory
from expectations.suites import Expectation, Suite, SuiteError, load_suite
from foundation.settings import Settings
from warehouse.lake import partition_dir


@pytest.fixture(scope="module")
def validated(make_home: Callable[..., Settings]) -> tuple[Settings, ValidationReport]:
    """A home folder in which a landing and a marts validation ran."""
    settings = make_home()
    write_day(settings, day(0), columns={"event_name": "if(i = 0, 'flash_sale', 'page_view')"})
    validate(settings, "landing", run_id="scheduled__2026-08-04T07:00:00+00:00")
    write_build(settings)
    return settings, validate(settings, "marts", run_id="scheduled__2026-08-04T07:00:00+00:00")


def test_each_suite_has_a_page_and_the_index_leads_to_it(validated: tuple[Settings, ValidationReport]) -> None:
    settings, report = validated
    folder = settings.docs_dir / "data_docs"
    assert report.data_docs == str(folder / "marts.html")
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "landing.html", "marts.html"]
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'href="([^"]+)"', index) == ["landing.html", "marts.html"]
    assert "scheduled__2026-08-04T07:00:00+00:00" in index and "event_names_known" in index
    page = (folder / "landing.html").read_text(encoding="utf-8")
    # what was not met comes first, with what was seen and what to do
    first = page.index("event_names_known")
    assert page.index("class='warned'>warned", page.index("<table>")) < first < page.index("class='passed'>passed")
    assert "flash_sale" in page and "What to do: " in page


def test_a_run_with_nothing_to_validate_leaves_the_last_verdict(settings: Settings) -> None:
    write_day(settings, day(0), columns={"event_name": "if(i = 0, 'flash_sale', 'page_view')"})
    validate(settings, "landing", run_id="first")
    page = settings.docs_dir / "data_docs" / "landing.html"
    before = page.read_text(encoding="utf-8")
    write_pages(settings, load_suite("landing"), [], run_id="second", scope="no days", moment=dt.datetime.now(dt.UTC))
    assert page.read_text(encoding="utf-8") == before


def test_pages_of_an_older_release_go_with_what_they_were_made_of(settings: Settings) -> None:
    old = [settings.docs_dir / "data_docs" / "static", settings.home / "validation" / "results"]
    for folder in old:
        folder.mkdir(parents=True)
        (folder / "page.html").write_text("<script>")
    write_pages(settings, load_suite("marts"), [], run_id="first", scope="", moment=dt.datetime.now(dt.UTC))
    assert not any(folder.exists() for folder in old)


def test_the_index_shows_the_last_runs(settings: Settings) -> None:
    now = dt.datetime(2026, 8, 4, tzinfo=dt.UTC)
    for number in range(KEPT_RUNS + 2):
        moment = now + dt.timedelta(hours=number)
        record_outcomes(settings, "marts", [outcome()], run_id=f"run-{number}", validated_at=moment)
    write_pages(settings, load_suite("marts"), [], run_id="x", scope="", moment=now)
    index = (settings.docs_dir / "data_docs" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<td>run-(\d+)</td>", index) == [str(number) for number in range(KEPT_RUNS + 1, 1, -1)]


def test_nothing_tried_to_reach_the_network(
    validated: tuple[Settings, ValidationReport], network_attempts: list[str]
) -> None:
    assert network_attempts == []


def test_validating_again_replaces_the_results(
    validated: tuple[Settings, ValidationReport], empty_folder: Path
) -> None:
    settings, report = validated
    before = read_results(settings, report.run_id)
    validate(settings, "marts", run_id=report.run_id)
    assert sorted(read_results(settings, report.run_id)) == sorted(before)
    assert len(before) == sum(len(load_suite(name).expectations) for name in ("landing", "marts"))
    # nothing is left where it ran, and the spill folder is gone
    assert list(empty_folder.iterdir()) == []
    assert list((settings.home / "validation").iterdir()) == []


def outcome(name: str = "some_check") -> Outcome:
    expectation = Expectation(
        name=name,
        severity="warn",
        description="Something holds.",
        what_to_do="Look at something.",
        table="days",
        expect="ExpectTableRowCountToEqual",
    )
    return Outcome(expectation, True, "observed 1", None)


def test_results_are_kept_for_400_days(settings: Settings) -> None:
    now = dt.datetime(2026, 8, 4, tzinfo=dt.UTC)
    for age in (401, 399, 0):
        then = now - dt.timedelta(days=age)
        record_outcomes(settings, "landing", [outcome()], run_id=f"run-{age}", validated_at=then)
    state = sqlite3.connect(settings.state_path)
    kept = state.execute("select run_id, validated_at from validation_results order by 1").fetchall()
    state.close()
    assert kept == [("run-0", "2026-08-04T00:00:00+00:00"), ("run-399", "2025-07-01T00:00:00+00:00")]


def test_results_of_other_suites_and_runs_stay(settings: Settings) -> None:
    now = dt.datetime(2026, 8, 4, tzinfo=dt.UTC)
    record_outcomes(settings, "landing", [outcome("one"), outcome("two")], run_id="a", validated_at=now)
    record_outcomes(settings, "marts", [outcome("three")], run_id="a", validated_at=now)
    record_outcomes(settings, "landing", [outcome("four")], run_id="b", validated_at=now)
    record_outcomes(settings, "landing", [outcome("one")], run_id="a", validated_at=now)
    assert sorted(read_results(settings, "a")) == ["one", "three"]
    assert sorted(read_results(settings, "b")) == ["four"]


def test_the_newest_results_are_those_of_the_last_validation_whatever_the_clock_said(settings: Settings) -> None:
    now = dt.datetime(2026, 8, 4, tzinfo=dt.UTC)
    for run_id, shift in (("ahead", 1), ("right", 0), ("behind", -1)):
        moment = now + dt.timedelta(days=shift)
        record_outcomes(settings, "marts", [outcome()], run_id=run_id, validated_at=moment)
        with closing(sqlite3.connect(settings.state_path)) as state:
            newest = "select run_id from validation_results order by validated_at desc limit 1"
            assert state.execute(newest).fetchall() == [(run_id,)]


def small_suite(*expectations: dict[str, object]) -> Suite:
    common = {"severity": "warn", "description": "Something holds.", "what_to_do": "Look at it.", "table": "things"}
    return Suite.model_validate(
        {"suite": "small", "description": "A suite.", "expectations": [{**common, **entry} for entry in expectations]}
    )


def test_expectation_that_cannot_be_evaluated_stops(settings: Settings) -> None:
    suite = small_suite(
        {"name": "no_such_column", "expect": "ExpectColumnValuesToBeBetween", "with": {"column": "y", "max_value": 1}},
        {"name": "few_things", "expect": "ExpectTableRowCountToEqual", "with": {"value": 3}},
    )
    with open_memory(settings) as (database, connection):
        connection.execute("create table things as select 'a' as subject, 1 as x")
        missing, few = run_checkpoint(suite, database)
    assert (missing.success, missing.is_error, missing.stops) == (False, True, True)
    assert "could not be evaluated" in missing.observed
    assert (few.success, few.is_error, few.stops, few.observed) == (False, False, False, "observed 1")


def test_many_misses_are_cut_short(settings: Settings) -> None:
    suite = small_suite(
        {"name": "small_x", "expect": "ExpectColumnValuesToBeBetween", "with": {"column": "x", "max_value": 0}}
    )
    with open_memory(settings) as (database, connection):
        connection.execute("create table things as select 'row ' || x as subject, x from range(1, 30001) as r(x)")
        (small,) = run_checkpoint(suite, database)
    assert small.unexpected_count == 30_000
    assert small.observed.endswith("; and 29,995 more")
    assert small.observed.count("row ") == 5


@pytest.mark.parametrize("name", ["landing", "marts", "scores"])
def test_suites_name_classes_that_exist(name: str) -> None:
    import great_expectations.expectations as gxe

    for expectation in load_suite(name).expectations:
        assert getattr(gxe, expectation.expect)(**expectation.arguments)


def test_wrong_suites_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="the suites are landing, marts, scores"):
        load_suite("nothing")
    entry = (
        "{name: twice, severity: fail, description: Something holds., what_to_do: Look at something., "
        "table: days, expect: ExpectTableRowCountToEqual, with: {value: 1}}"
    )
    (tmp_path / "wrong.yml").write_text(f"suite: wrong\ndescription: x\nexpectations:\n- {entry}\n- {entry}\n")
    with pytest.raises(SuiteError, match=r"wrong\.yml.*\n?(.*\n)*.*occur twice: twice"):
        load_suite("wrong", tmp_path)
    (tmp_path / "wrong.yml").write_text(
        f"suite: wrong\ndescription: x\nexpectations:\n- {entry.replace('severity: fail', 'severity: perhaps')}\n"
    )
    with pytest.raises(SuiteError, match="severity"):
        load_suite("wrong", tmp_path)


def test_command_line_speaks_and_exits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(settings.home))
    monkeypatch.setenv("FUNNELHOUSE_PROPERTY_TIMEZONE", "UTC")
    assert main(["landing"]) == 0
    assert "Nothing to validate" in capsys.readouterr().out

    write_day(settings, day(0), columns={"event_name": "if(i < 50, null, 'flash_sale')"})
    assert main(["landing", "--run-id", "by-hand"]) == 1
    out = capsys.readouterr().out
    assert re.search(rf"FAIL  event_names_present +{day(0)}: event_name_missing_share = 0.5\n", out)
    assert "warn  event_names_known" in out
    assert "What to do: The export of that day is broken" in out
    assert "Data docs: " in out
    assert read_results(settings, "by-hand")["event_names_present"]["success"] == 0

    assert main(["marts"]) == 1
    assert "no build has started" in capsys.readouterr().err

    (partition_dir(settings, day(0)) / "_manifest.json").write_text("")
    assert main(["landing"]) == 1
    assert "_manifest.json cannot be read" in capsys.readouterr().err
