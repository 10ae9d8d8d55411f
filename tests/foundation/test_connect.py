"""SQL of somebody else reads the published warehouse, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from foundation.connect import open_for_queries
from foundation.settings import Settings


@pytest.fixture
def published(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home")
    settings.home.mkdir()
    with duckdb.connect(str(settings.published_path)) as connection:
        connection.execute("create schema marts; create table marts.kpis as select 1 as sessions")
    return settings


def test_the_warehouse_is_queried_as_always(published: Settings) -> None:
    with open_for_queries(published) as connection:
        assert connection.sql("from marts.kpis").fetchall() == [(1,)]
        assert connection.sql(
            "select timezone('America/Los_Angeles', timestamptz '2026-08-01 12:00:00+00')::varchar"
        ).fetchall() == [("2026-08-01 05:00:00",)]


@pytest.mark.parametrize(
    "query",
    [
        "from read_csv('{file}')",
        "from read_text('{file}')",
        "from '{file}'",
        "from glob('{folder}/*')",
        "copy (select 1) to '{folder}/out.csv'",
        "attach '{folder}/other.duckdb' as other",
        "from sqlite_scan('{folder}/ops.sqlite', 'secrets')",
        "load httpfs",
        "install httpfs",
        "export database '{folder}/all'",
        "create table x as select 1",
        "set enable_external_access = true",
        "set autoinstall_known_extensions = true",
        "reset lock_configuration",
        "pragma enable_external_access = true",
    ],
)
def test_no_other_file_is_read_or_written_and_no_lock_opened(published: Settings, tmp_path: Path, query: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("secret\nhunter22\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    with open_for_queries(published) as connection, pytest.raises(duckdb.Error):
        connection.sql(query.format(file=file, folder=tmp_path)).fetchall()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
