"""What the summary says of the models and the segments."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from conftest import HomeSettings

from ml.io.registry import LAST_REPORT_FILE, ModelRegistry
from ml.jobs.report import FULL, PRECHECKOUT
from ml.jobs.summary import summarise_models, summarise_segments


@pytest.fixture
def tell(settings: HomeSettings) -> Callable[..., list[str]]:
    """What the summary says where these models (name, version) were used and those (name, reason) were refused."""

    def run(used: dict[str, str | None], **refused: str) -> list[str]:
        with duckdb.connect() as connection:
            connection.execute("create schema ops; create table ops.build_info (champions_used varchar)")
            connection.execute("insert into ops.build_info values (?)", [json.dumps(used)])
            if refused:
                connection.execute("create table ops.refused_models (model varchar, version varchar, reason varchar)")
                rows = [(name, None, reason) for name, reason in refused.items()]
                connection.executemany("insert into ops.refused_models values (?, ?, ?)", rows)
            title, *lines = summarise_models(connection, settings)
        assert title == "MODELS (held-out last days; 95 % intervals)"
        return lines

    return run


@pytest.fixture
def settings(tmp_path: Path) -> HomeSettings:
    return HomeSettings(home=tmp_path / "home")


def test_a_model_without_a_champion_says_why(settings: HomeSettings, tell: Callable[..., list[str]]) -> None:
    assert tell({}) == [f"  {FULL}: no champion: not trained yet", f"  {PRECHECKOUT}: no champion: not trained yet"]
    settings.models_dir.mkdir(parents=True)
    report = {"models": [{"name": FULL, "why": "13 days with sessions; at least 14 are needed"}]}
    (settings.models_dir / LAST_REPORT_FILE).write_text(json.dumps(report))
    assert tell({})[0] == f"  {FULL}: no champion: 13 days with sessions; at least 14 are needed"


def test_what_scores_is_told_with_its_metrics_and_not_what_was_refused(
    trained_home: Path, settings: HomeSettings, tell: Callable[..., list[str]]
) -> None:
    shutil.copytree(trained_home, settings.home)
    version = str(ModelRegistry(settings.models_dir).champion_version(FULL))
    interval = r"\d+\.\d{3} \[\d+\.\d{3}, \d+\.\d{3}\]"
    line = f"  {FULL} {version}: AUC {interval}, AP {interval}, lift at 10 % {interval}, Brier {interval}"
    assert re.fullmatch(line, tell({FULL: version})[0])
    assert tell({})[0] == f"  {FULL}: {version} is champion and will score with the next run"
    other = "20250101T000000Z-00000000"
    assert tell({FULL: other})[0].endswith(f"; {version} is champion and will score with the next run")
    refused = tell({FULL: version}, **{PRECHECKOUT: "its file has changed", "segments": "it is gone"})
    assert refused[1:] == [
        f"  {PRECHECKOUT}: NOT USED, its scores are empty: its file has changed",
        "  segments: NOT USED, its scores are empty: it is gone",
    ]
    (settings.models_dir / FULL / version / "manifest.json").write_text('{"format": 1}')
    assert "was written by another version of Funnelhouse" in tell({FULL: version})[0]


def test_segments_are_told_largest_first() -> None:
    with duckdb.connect() as connection:
        connection.execute(
            """
            create schema marts;
            create table marts.fct_session_scores as
            select * from (values ('a', 'Comparers'), ('b', 'Comparers'), ('c', 'Readers'), ('d', null))
                as s(session_id, segment_name);
            create table marts.fct_sessions as
            select * from (values ('a', true), ('b', false), ('c', false), ('d', true)) as s(session_id, has_purchase)
            """
        )
        assert summarise_segments(connection) == [
            "SEGMENTS",
            "  segment    sessions   share  conversion",
            "  Comparers         2  66.7 %      50.0 %",
            "  Readers           1  33.3 %       0.0 %",
        ]
        connection.execute("update marts.fct_session_scores set segment_name = null")
        assert summarise_segments(connection) == ["SEGMENTS", "  none yet"]
