"""dbt by hand writes no published warehouse, past the lock and the audit, under whatever path."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.connect import open_published
from foundation.settings import Settings
from tests.dbt_runner import build_and_publish
from tests.lake_writer import make_event, write_day
from warehouse.build import dbt_environment


def _run_dbt(settings: Settings, path: Path, *command: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-c", "from dbt.cli.main import cli; cli()", *command],
        env={**os.environ, **dbt_environment(settings), "FUNNELHOUSE_BUILD_PATH": str(path), "DBT_LOG_LEVEL": "info"},
        cwd=settings.dbt_project_dir,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode != 0, outcome.stdout
    return outcome.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    write_day(settings, "2026-08-01", [make_event("page_view", "2026-08-01T17:00:00")])
    build_and_publish(settings)
    return settings


def test_a_run_by_hand_is_refused_and_readers_stay(published: Settings) -> None:
    before = hashlib.sha256(published.published_path.read_bytes()).hexdigest()
    with open_published(published) as reader:
        output = _run_dbt(published, published.published_path, "run", "--select", "fct_sessions")
        assert "which is attached in read-only mode" in output
        assert reader.execute("select count(*) from marts.fct_sessions").fetchall() == [(1,)]
    assert hashlib.sha256(published.published_path.read_bytes()).hexdigest() == before


def test_so_it_is_where_its_folder_has_the_name_of_a_build(published: Settings, tmp_path: Path) -> None:
    path = tmp_path / "build" / "warehouse.duckdb"
    path.parent.mkdir()
    shutil.copyfile(published.published_path, path)
    assert "this is a published warehouse" in _run_dbt(published, path, "run", "--select", "fct_sessions")
