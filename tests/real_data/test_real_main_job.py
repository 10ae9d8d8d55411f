"""The main job on real GA4 day files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.settings import Settings
from tests.dbt_runner import query

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
    home = tmp_path / "home"
    outcome = subprocess.run(
        [sys.executable, "-m", "runner", "run"],
        cwd=PROJECT,
        env={
            **os.environ,
            "FUNNELHOUSE_HOME": str(home),
            "FUNNELHOUSE_SOURCE": str(DAYS),
            "FUNNELHOUSE_PROPERTY_TIMEZONE": "UTC",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    settings = Settings(home=home, property_timezone="UTC")
    assert query(settings, "select count(*), sum(events) from marts.agg_kpis_daily") == [(92, 24_219)]
    assert query(
        settings,
        """
        select count(*), count(*) filter (where cast(session_ended_at as date) != session_date) from marts.fct_sessions
        """,
    ) == [(20_705, 17)]
    # a sample of events shows too little of each session to learn from: the run says so and goes on
    assert "no champion: only" in outcome.stdout
