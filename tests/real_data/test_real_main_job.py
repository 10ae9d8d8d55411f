"""The main job on real GA4 day files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foundation.settings import Settings
from ml.jobs.train import train_models
from runner.summary import summarise
from tests.dbt_runner import query
from tests.main_job import run_main_job

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("FUNNELHOUSE_TEST_DATA", PROJECT.parent / "shared" / "data"))
DAYS = DATA / "ga4_merch_store" / "daily"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DAYS.exists(), reason=f"the real day files are not at {DAYS}"),
]


def test_the_merchandise_store_from_files_to_a_published_warehouse(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", source=str(DAYS), property_timezone="UTC")
    assert run_main_job(settings, run_id="first") == ["nothing is published yet"]
    train_models(settings)
    assert query(settings, "select count(*), sum(events) from marts.agg_kpis_daily") == [(92, 24_219)]
    assert query(
        settings,
        """
        select count(*), count(*) filter (where cast(session_ended_at as date) != session_date) from marts.fct_sessions
        """,
    ) == [(20_705, 17)]
    # a sample of events shows too little of each session to learn from: the run says so and goes on
    assert "no champion: only" in summarise(settings)
    assert run_main_job(settings, run_id="second") == []
