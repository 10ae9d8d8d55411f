"""The model card and the printed report: everything that is known about a version stands there, and in one file."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import HomeSettings, Shop

from ml.core.record import PropensityRecord
from ml.io.registry import LAST_REPORT_FILE, ModelRegistry
from ml.jobs.report import FULL, PRECHECKOUT, ModelReport
from ml.jobs.wording import describe_training


class Card(HTMLParser):
    """The headings, charts and table rows of a card, and everything it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.charts: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self._open: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        source = values.get("src") or values.get("href")
        if source is not None and source.startswith("data:image/svg+xml;base64,"):
            self.charts[str(values["alt"])] = base64.b64decode(source.split(",")[1]).decode()
        elif source is not None:
            self.fetched.append(source)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        if tag == "h2":
            self.headings.append("")
        if tag in {"td", "h2"}:
            self._open = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open == "td":
            self.rows[-1][-1] += data
        elif self._open == "h2":
            self.headings[-1] += data


def read_card(home: Path, name: str) -> tuple[Card, PropensityRecord]:
    registry = ModelRegistry(HomeSettings(home=home).models_dir)
    version = registry.champion_version(name)
    assert version is not None
    record = registry.read_manifest(name, version).record
    assert isinstance(record, PropensityRecord)
    return Card(registry.card_path(name, version).read_text(encoding="utf-8")), record


@pytest.mark.parametrize("name", [FULL, PRECHECKOUT])
def test_the_card_is_one_file_with_every_chart_and_section(trained_home: Path, name: str) -> None:
    card, record = read_card(trained_home, name)
    assert card.fetched == []
    wanted = {"ROC curve", "Precision and recall", "Reliability", "Cumulative gains", "Permutation importance"}
    assert set(card.charts) == wanted | ({"ROC-AUC by decision point"} if name == PRECHECKOUT else set())
    for title, svg in card.charts.items():
        assert svg.startswith("<svg") and f">{title}</text>" in svg
        assert svg.count("<path") > 5  # something is drawn
        assert not re.search(r"(href|url)\s*[=(]\s*[\"']?http", svg)
    assert {"What it may be used for", "What it may not be used for", "Gates", "Drift", "Features"} <= set(
        card.headings
    )
    auc = record.metrics["roc_auc"]
    assert ["ROC-AUC", f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"] in [row[:2] for row in card.rows]


def test_the_card_tells_drift_and_inflation_of_every_feature(trained_home: Path, shop: Shop) -> None:
    card, record = read_card(trained_home, FULL)
    names = set(record.contract.feature_names)
    drift = {row[0]: row[1:] for row in card.rows if len(row) == 4 and row[3] in {"drifted", "as before"}}
    assert set(drift) == names
    for psi, by_chance, verdict in drift.values():
        assert (verdict == "drifted") is (float(psi) > max(float(by_chance), 0.1))
    kinds = {
        row[0]: row[1] for row in card.rows if len(row) == 4 and row[1].startswith(("numeric", "flag", "categorical"))
    }
    assert set(kinds) == names
    inflation = [row[3] for row in card.rows if len(row) == 4 and row[1].startswith("numeric")]
    assert len(inflation) >= 8 and all(float(value) >= 1 for value in inflation)


def test_the_report_prints_the_gain_over_each_baseline(trained_home: Path) -> None:
    report = json.loads((HomeSettings(home=trained_home).models_dir / LAST_REPORT_FILE).read_text())
    printed = {
        model["name"]: describe_training(
            ModelReport(**{key: value for key, value in model.items() if key in ModelReport.__dataclass_fields__})
        )
        for model in report["models"]
    }
    for name, rivals in (
        (FULL, ["the base rate", "the best single flag (", "whether the checkout was reached"]),
        (PRECHECKOUT, ["the base rate", "the best single flag ("]),
    ):
        lines = [line for line in printed[name] if line.startswith("  minus ")]
        assert [line[8 : 8 + len(rival)] for line, rival in zip(lines, rivals, strict=True)] == rivals
        assert all(re.search(r"lift at 10 % [+-]\d\.\d{3} \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\]", line) for line in lines)
    gain = next(model for model in report["models"] if model["name"] == FULL)["gains"]["checkout_flag"]
    assert gain["lift_at_10_percent"]["low"] > 0  # in this shop the flag is a coin thrown with the truth's root
