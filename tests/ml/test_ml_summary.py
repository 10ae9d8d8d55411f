"""What the summary says of the models and the segments."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import duckdb
from conftest import HomeSettings

from foundation.settings import Settings
from ml.io.registry import LAST_REPORT_FILE, ModelRegistry
from ml.jobs.report import FULL, PRECHECKOUT
from ml.jobs.summary import summarise_models, summarise_segments


def test_a_model_without_a_champion_says_why(settings: Settings) -> None:
    assert summarise_models(settings)[1:] == [
        f"  {FULL}: no champion: not trained yet",
        f"  {PRECHECKOUT}: no champion: not trained yet",
    ]
    settings.models_dir.mkdir(parents=True)
    report = {"models": [{"name": FULL, "why": "13 days with sessions; at least 14 are needed"}]}
    (settings.models_dir / LAST_REPORT_FILE).write_text(json.dumps(report))
    assert summarise_models(settings)[1] == f"  {FULL}: no champion: 13 days with sessions; at least 14 are needed"


def test_a_champion_is_told_with_its_metrics_or_why_it_cannot_be(trained_home: Path, tmp_path: Path) -> None:
    settings = HomeSettings(home=tmp_path / "home")
    shutil.copytree(trained_home, settings.home)
    version = ModelRegistry(settings.models_dir).champion_version(FULL)
    interval = r"\d+\.\d{3} \[\d+\.\d{3}, \d+\.\d{3}\]"
    line = f"  {FULL} {version}: AUC {interval}, AP {interval}, lift at 10 % {interval}, Brier {interval}"
    assert re.fullmatch(line, summarise_models(settings)[1])
    (settings.models_dir / FULL / str(version) / "manifest.json").write_text('{"format": 1}')
    assert "was written by another version of Funnelhouse" in summarise_models(settings)[1]


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
