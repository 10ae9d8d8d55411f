"""The manifest of a version: typed in the program, in the file as it always was."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from conftest import HomeSettings

from ml.core.errors import ModelOutdatedError, ModelRefusedError
from ml.core.record import PropensityRecord, SegmentationRecord
from ml.io.manifest import MANIFEST_HASH, Manifest, hash_manifest
from ml.jobs.report import FULL, PRECHECKOUT, SEGMENTS

OF_ANY = {"code_version", "contract", "data", "estimator", "format", "libraries", "manifest_sha256", "model_sha256"}
OF_ANY |= {"name", "trained_at", "trusted_types", "version"}
OF_PROPENSITY = {"baselines", "best_flag", "calibration", "compared_with", "gains", "gates", "leaks", "metrics"}
OF_PROPENSITY |= {"metrics_by_group", "metrics_note", "metrics_uncorrected", "oracle", "search", "split"}
OF_SEGMENTS = {"choice_of_k", "segment_space", "segments", "ward_ari"}


def read_text(home: Path, name: str) -> str:
    [path] = HomeSettings(home=home).models_dir.glob(f"{name}/*/manifest.json")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "own_keys", "data_keys"),
    [
        (FULL, OF_PROPENSITY, {"label", "positives", "rows_in_all", "users"}),
        (PRECHECKOUT, OF_PROPENSITY, {"label", "positives", "rows_in_all", "users"}),
        (SEGMENTS, OF_SEGMENTS, set()),
    ],
)
def test_a_file_has_its_keys_and_is_written_again_as_it_was_read(
    trained_home: Path, name: str, own_keys: set[str], data_keys: set[str]
) -> None:
    text = read_text(trained_home, name)
    values = json.loads(text)
    assert set(values) == OF_ANY | own_keys
    assert set(values["data"]) == {"first_date", "last_date", "relation", "rows"} | data_keys
    assert Manifest.from_json(text, where="here").to_json() == text


def test_what_it_tells_has_a_type(trained_home: Path) -> None:
    record = Manifest.from_json(read_text(trained_home, FULL), where="here").record
    assert isinstance(record, PropensityRecord) and record.data.label == "label_purchased"
    # 28 days from 1 March; the last seven are held out
    assert (record.split.train_from, record.split.test_from) == ("2026-03-01", "2026-03-22")
    assert record.fitted_until == dt.date(2026, 3, 21)
    segments = Manifest.from_json(read_text(trained_home, SEGMENTS), where="here").record
    assert isinstance(segments, SegmentationRecord) and segments.fitted_until is None
    assert [segment.segment_id for segment in segments.found.segments] == list(
        range(1, len(segments.found.segments) + 1)
    )


@pytest.mark.parametrize("key", ["contract", "trained_at", "metrics", "split"])
def test_a_manifest_that_lacks_something_says_what(trained_home: Path, key: str) -> None:
    values = json.loads(read_text(trained_home, FULL))
    del values[MANIFEST_HASH], values[key]
    text = json.dumps({**values, MANIFEST_HASH: hash_manifest(values)})
    with pytest.raises(ModelRefusedError, match=rf"the file is not a complete manifest \(KeyError\('{key}'\)\)"):
        Manifest.from_json(text, where="the file")


def test_another_format_is_outdated_whatever_it_holds() -> None:
    with pytest.raises(ModelOutdatedError, match=r"the file was written by another .* \(format 3, this one reads 2\)"):
        Manifest.from_json('{"format": 3}', where="the file")
