"""A home that the last release wrote opens, and keeps its figures, its incidents, and its models or the reason why not.

`home_2026_11.tar.xz` is such a home: sixteen days of the sample shop, published and scored, two champions, an open
incident. With each release a home that it wrote takes its place.
"""

from __future__ import annotations

import datetime as dt
import tarfile
from pathlib import Path

import pytest

from alerts.incidents.store import read_incidents
from alerts.state import open_alerts
from foundation.connect import open_published
from foundation.settings import Settings
from ml.io.registry import ModelRegistry
from ml.jobs.wording import describe_versions
from runner.summary import summarise
from tests.dbt_runner import query
from tests.lake_writer import make_event, write_day
from tests.main_job import run_main_job
from warehouse.lake import read_manifests
from warehouse.transaction import read_refused_models, read_used_models

HOME = Path(__file__).parent / "home_2026_11.tar.xz"
MODELS = {"propensity_full", "segments"}
# without the duration of sessions, whose definition has changed since: a refund ends none any more
KPIS = """
    select kpi_date, events, sessions, users, sessions_with_add_to_cart, sessions_with_purchase, round(revenue_usd, 9)
    from marts.agg_kpis_daily where kpi_date <= date '2026-09-30' order by kpi_date
"""


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    folder = tmp_path / "home"
    folder.mkdir()
    with tarfile.open(HOME) as archive:
        archive.extractall(folder, filter="data")
    return Settings(home=folder, source=str(tmp_path / "export"))


def read_open_incidents(settings: Settings) -> dict[str, str]:
    with open_alerts(settings) as state:
        return {each.incident_id: each.status for each in read_incidents(state)}


def test_an_older_home_goes_on_with_what_it_had(home: Settings, tmp_path: Path) -> None:
    # before anything is run, it can be looked at
    assert "can't be read" not in summarise(home)
    before = query(home, KPIS)
    assert len(before) == 16 and all(row[1] > 0 for row in before)
    champions = {name: ModelRegistry(home.models_dir).champion_version(name) for name in MODELS}
    assert all(champions.values())
    incidents = read_open_incidents(home)
    assert list(incidents.values()) == ["open"]

    # a new day comes, and everything is built anew with today's SQL
    days = set(read_manifests(home))
    other = Settings(home=tmp_path / "other")
    write_day(
        other, "2026-10-03", [make_event("page_view", "2026-10-03T17:00:00", user=f"new.{n}") for n in range(300)]
    )
    (tmp_path / "export").mkdir()
    [file] = other.lake_dir.glob("*/*.parquet")
    file.rename(tmp_path / "export" / "events_20261003.parquet")
    reasons = run_main_job(home, run_id="after the upgrade")
    assert reasons == ["the SQL or a setting that it depends on has changed"]
    assert read_manifests(home).keys() == days | {dt.date(2026, 10, 3)}

    # its figures, its incidents, its models or the reason why not
    assert query(home, KPIS) == before
    assert read_open_incidents(home) | dict.fromkeys(incidents, "resolved") == read_open_incidents(home)
    with open_published(home) as connection:
        used, refused = read_used_models(connection), read_refused_models(connection)
    assert used.keys() | refused.keys() == MODELS and not used.keys() & refused.keys()
    assert all(used[name] == champions[name] for name in used)
    said = summarise(home)
    assert all(f"{name}: NOT USED" in said for name in refused)
    assert "can't be read" not in said
    listed = "\n".join(describe_versions(ModelRegistry(home.models_dir), refused))
    assert all(str(version) in listed for version in champions.values())
    assert run_main_job(home, run_id="again") == []
