"""A table of one's own: read in time order, judged like the product's models, refused with file and column."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.__main__ import main
from ml.core.metrics import from_logit
from ml.io.tables import TableError, read_table
from ml.jobs.evaluate import TableOptions, evaluate_table

MONTHS = ("Feb", "Mar", "May", "June", "Aug", "Oct", "Nov", "Dec")


def make_table(n: int = 3_000) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    depth, month = rng.normal(size=n), rng.integers(0, len(MONTHS), n)
    return pd.DataFrame(
        {
            "row_id": rng.permutation(n),
            "pages": np.exp(depth).round(2),
            "kind": rng.choice(np.array(["new", "back", "other"]), n),
            "is_weekend": rng.random(n) < 0.3,
            "constant": 1,
            "note": [f"text {number}" for number in rng.permutation(n)],
            "month": np.array(MONTHS)[month],
            "bought": rng.random(n) < from_logit(1.3 * depth - 1.5 + 0.5 * (month >= 6)),
        }
    )


def read(path: Path, **changes: object):  # type: ignore[no-untyped-def]
    options = {"label": "bought", "time": "month", "features": None, "exclude": [], "categorical": [], "user": None}
    return read_table(path, **{**options, "order": None, **changes})  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_table().to_csv(tmp_path / "shop.csv", index=False)
    return tmp_path / "shop.csv"


def test_rows_come_in_order_of_time_and_ids_are_left_out(path: Path) -> None:
    table = read(path)
    assert table.period_names == list(MONTHS) and (np.diff(table.periods) >= 0).all()
    assert table.contract.feature_names == ["pages", "kind", "is_weekend"]
    assert [feature.kind for feature in table.contract.features] == ["numeric", "categorical", "flag"]
    text = " ".join(table.notes)
    assert "left out row_id" in text and "left out constant" in text and "left out note" in text
    raw = pd.read_csv(path)
    assert table.frame["pages"].tolist() == [
        value for month in MONTHS for value in raw.loc[raw["month"] == month, "pages"]
    ]
    raw.to_parquet(path.with_suffix(".parquet"))
    assert read(path.with_suffix(".parquet")).frame.equals(table.frame)


@pytest.mark.parametrize(
    ("column", "values", "options", "message"),
    [
        ("bought", True, {}, r"column bought: every row is true"),
        ("bought", "maybe", {}, r"column bought: a label is true or false, .*found maybe"),
        ("bought", None, {}, r"column bought: 3000 rows have no label, the first is row 1"),
        ("month", "soon", {}, r"column month: 'soon' can't be put in order of time"),
        ("month", "Feb", {"order": ["Jan", "Mar"]}, r"column month: Feb missing in --order Jan,Mar"),
        ("pages", [float("inf"), *range(2_999)], {}, r"column pages: infinite values"),
        ("pages", 1.0, {"features": ["pages"]}, r"no column is left to learn from"),
        ("pages", 1.0, {"features": ["note"]}, r"column note: 3,000 different texts: an id or free text"),
        ("pages", 1.0, {"features": ["bought"]}, r"the label bought can't be a feature too"),
        ("pages", 1.0, {"label": "sold"}, r"has no column sold; its columns are: row_id, pages"),
    ],
)
def test_what_can_not_be_used_is_named(
    tmp_path: Path, column: str, values: object, options: dict[str, object], message: str
) -> None:
    make_table().assign(**{column: values}).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(TableError, match=message) as caught:
        read(tmp_path / "bad.parquet", **options)
    assert "bad.parquet" in str(caught.value)


def test_a_table_is_judged_and_gets_a_card_that_needs_nothing_from_outside(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = TableOptions("bought", "month", test_from="Nov", budget=1, out=out)
    report = evaluate_table(path, options)
    assert report.why_not is None and 0.75 < report.metrics["roc_auc"]["value"] < 0.88
    assert report.metrics["calibration_error"]["value"] < report.metrics_uncorrected["calibration_error"]["value"]
    assert report.record is not None
    assert (report.record.split.train_from, report.record.split.test_from) == ("Feb", "Nov")
    assert set(report.record.metrics_by_group) == {"kind", "is_weekend"}
    written = json.loads((out / "evaluation.json").read_text())
    assert written["metrics"] == report.metrics and written["manifest"]["split"]["test_from"] == "Nov"
    card = (out / "model_card.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|<script|@import""", card)
    for part in (
        "ROC curve",
        "Precision and recall",
        "Reliability",
        "Cumulative gains",
        "Permutation importance",
        "VIF",
    ):
        assert part in card
    assert evaluate_table(path, options).metrics == report.metrics


def test_the_command_line_says_what_is_wrong(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(path), "--label", "bought", "--time", "month", "--test-from", "Jul"]) == 1
    assert "no row of Jul (--test-from); there are Feb, Mar" in capsys.readouterr().err
    assert main(["evaluate", str(path.parent / "none.csv"), "--label", "bought", "--time", "month"]) == 1
    assert "none.csv is not a file" in capsys.readouterr().err
