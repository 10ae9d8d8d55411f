"""Training and judging on the UCI online shoppers, February to October against November and December."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml.jobs.evaluate import TableOptions, TableReport, evaluate_table

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("FUNNELHOUSE_TEST_DATA", PROJECT.parent / "shared" / "data"))
TABLE = DATA / "uci_online_shoppers" / "online_shoppers_intention.csv"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.skipif(not TABLE.exists(), reason=f"the online shoppers are not at {TABLE}"),
]


def evaluate(exclude: list[str]) -> TableReport:
    report = evaluate_table(TABLE, TableOptions("Revenue", "Month", exclude=exclude, test_from="Nov", budget=20))
    assert report.record is not None, report.why_not
    split = report.record.split
    assert (split.train_from, split.test_from, split.test_to) == ("Feb", "Nov", "Dec")
    assert (report.metrics["n"], report.metrics["positives"]) == (4_725, 976)
    return report


def test_with_page_values() -> None:
    report = evaluate([])
    assert report.metrics["roc_auc"]["value"] >= 0.85
    assert report.metrics["average_precision"]["value"] >= 0.67
    assert report.metrics["calibration_error"]["value"] <= 0.03
    assert report.metrics_uncorrected["calibration_error"]["value"] > report.metrics["calibration_error"]["value"]
    # without the correction, as a ranking that learns nothing from the months it is judged on
    assert report.metrics_uncorrected["roc_auc"]["value"] >= 0.83


def test_without_page_values_which_know_what_comes_later() -> None:
    report = evaluate(["PageValues"])
    assert report.metrics["roc_auc"]["value"] >= 0.71
    assert report.metrics["roc_auc"]["value"] < 0.76
