"""The real GA4 day files of a public store load as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from foundation.settings import Settings
from ingest.job import load_changed_days
from warehouse.lake import read_manifests

DATA = Path(os.environ.get("FUNNELHOUSE_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
DAILY = DATA / "ga4_merch_store" / "daily"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DAILY.is_dir(), reason=f"{DAILY} is absent: no real GA4 day files to load"),
]


def test_the_real_days_load_once_and_lose_nothing(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(source=str(DAILY))
    report = load_changed_days(settings, progress=False)
    assert (len(report.days_loaded), report.events_loaded) == (92, 24_219)
    assert (report.quarantined, report.uncast_values, report.impossible_names) == ([], [], [])
    [drift] = report.schema_drift
    assert drift["days"] == 92 and drift["retyped"]["stream_id"] == "BIGINT" and drift["unknown"] == {}
    assert len(read_manifests(settings)) == 92

    as_sum = "count(*), sum(event_timestamp), count(user_pseudo_id), sum(len(event_params)), sum(len(items))"
    purchases = "sum(ecommerce.purchase_revenue_in_usd), count(ecommerce.transaction_id), min(stream_id::bigint)"
    with duckdb.connect() as connection:
        read = "select {} from read_parquet('{}', hive_partitioning = false)"
        exported = connection.execute(read.format(f"{as_sum}, {purchases}", f"{DAILY}/*.parquet")).fetchall()
        loaded = connection.execute(
            read.format(f"{as_sum}, {purchases}", f"{settings.lake_dir}/*/*.parquet")
        ).fetchall()
    assert loaded[0] == pytest.approx(exported[0], rel=1e-12)

    again = load_changed_days(settings, progress=False)
    assert (again.days_loaded, again.days_unchanged) == ([], 92)
