"""Stored models: whole or not there, and nothing changed or foreign is loaded."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from foundation.settings import PROJECT_DIR
from ml.core.contract import Feature, FeatureContract
from ml.core.errors import ModelOutdatedError, ModelRefusedError
from ml.core.record import DataRecord, EstimatorRecord, ModelRecord
from ml.io.manifest import MANIFEST_HASH, hash_manifest
from ml.io.registry import LAST_REPORT_FILE, ModelRegistry, RefusedVersion

CONTRACT = FeatureContract("feat_sessions", "1", (Feature("page_views", "BIGINT", "numeric", "events", False),))
RECORD = ModelRecord(
    data=DataRecord("ml.feat_sessions", rows=3, first_date="2026-02-01", last_date="2026-02-28"),
    contract=CONTRACT,
    code_version="0.1.0",
    libraries={"skops": "0.16.0"},
    estimator=EstimatorRecord("scaler", {}, seed=1, chosen_by="hand"),
)
WHEN = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)


def double(values: Any) -> Any:
    """A function of nobody's list."""
    return values * 2


def pipeline() -> Pipeline:
    return Pipeline([("scale", StandardScaler().fit(np.array([[1.0], [2.0], [4.0]])))])


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


def save(registry: ModelRegistry, when: dt.datetime = WHEN) -> str:
    return registry.save("toy", pipeline(), RECORD, trained_at=when)


def put_model(registry: ModelRegistry, version: str, content: bytes) -> None:
    """Replace a model file and make its manifest vouch for it, as somebody with write access would."""
    folder = registry.root / "toy" / version
    (folder / "model.skops").write_bytes(content)
    change_manifest(folder, model_sha256=hashlib.sha256(content).hexdigest())


def change_manifest(folder: Path, **changes: Any) -> None:
    """Change entries and make the manifest's own hash fit again."""
    manifest = {**json.loads((folder / "manifest.json").read_text()), **changes}
    manifest.pop(MANIFEST_HASH)
    manifest[MANIFEST_HASH] = hash_manifest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_saved_model_loads_and_predicts_the_same(registry: ModelRegistry) -> None:
    version = save(registry)
    assert version.startswith("20260301T120000Z-")
    registry.promote("toy", version, reason="first")
    stored = registry.load_champion("toy")
    assert stored is not None and stored.contract == CONTRACT and stored.manifest.name == "toy"
    rows = np.array([[3.0], [7.0]])
    assert (stored.pipeline.transform(rows) == pipeline().transform(rows)).all()
    assert registry.load_champion("other") is None


def test_promotion_and_retirement(registry: ModelRegistry) -> None:
    first, second = save(registry), save(registry, WHEN + dt.timedelta(days=7))
    registry.promote("toy", first, reason="first")
    registry.promote("toy", second, reason="second")
    assert [(entry.version, entry.is_champion) for entry in registry.list_versions()] == [
        (second, True),
        (first, False),
    ]
    assert json.loads((registry.root / "toy" / "champion.json").read_text())["previous"] == first
    with pytest.raises(ModelRefusedError, match="has no version"):
        registry.promote("toy", "20300101T000000Z-00000000", reason="no such thing")
    assert registry.champion_version("toy") == second
    assert registry.retire("toy") == second
    assert registry.champion_version("toy") is None and registry.retire("toy") is None
    assert len(registry.list_versions()) == 2


@pytest.mark.parametrize("position", [0, 100, -30])
def test_a_flipped_byte_is_refused(registry: ModelRegistry, position: int) -> None:
    version = save(registry)
    path = registry.root / "toy" / version / "model.skops"
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ModelRefusedError, match="sha256 differs"):
        registry.load("toy", version)


def test_a_foreign_type_is_refused_even_with_a_manifest_that_vouches_for_it(registry: ModelRegistry) -> None:
    version = save(registry)
    put_model(registry, version, skops.io.dumps({"all": Pipeline([("double", FunctionTransformer(double))])}))
    with pytest.raises(ModelRefusedError, match=r"foreign types: .*double"):
        registry.load("toy", version)


def test_what_is_no_pipeline_or_no_model_is_refused(registry: ModelRegistry) -> None:
    version = save(registry)
    put_model(registry, version, skops.io.dumps({"a": 1}))
    with pytest.raises(ModelRefusedError, match="holds a int as 'a', not a pipeline"):
        registry.load("toy", version)
    put_model(registry, version, b"not a zip file")
    with pytest.raises(ModelRefusedError, match="can't be read as a model"):
        registry.load("toy", version)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    put_model(registry, version, empty.getvalue())
    with pytest.raises(ModelRefusedError, match="can't be read as a model"):
        registry.load("toy", version)


def test_a_pipeline_that_could_not_be_loaded_again_is_not_saved(registry: ModelRegistry) -> None:
    with pytest.raises(ModelRefusedError, match="types that are not on the list"):
        registry.save("toy", Pipeline([("double", FunctionTransformer(double))]), RECORD, trained_at=WHEN)
    assert registry.list_versions() == []


def test_missing_and_changed_files_are_refused(registry: ModelRegistry) -> None:
    version = save(registry)
    folder = registry.root / "toy" / version
    contract = json.loads((folder / "manifest.json").read_text())["contract"]
    contract["features"][0]["kind"] = "flag"
    change_manifest(folder, contract=contract)
    with pytest.raises(ModelRefusedError, match="does not match its own hash"):
        registry.load("toy", version)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"name": "toy"', '"name": "boy"'))
    with pytest.raises(ModelRefusedError, match=r"manifest\.json is not what was written"):
        registry.load("toy", version)
    (folder / "manifest.json").write_text("{half")
    with pytest.raises(ModelRefusedError, match=r"manifest\.json can't be read"):
        registry.load("toy", version)
    (registry.root / "toy" / "champion.json").write_text('{"version": "../../elsewhere"}')
    with pytest.raises(ModelRefusedError, match="is not a version"):
        registry.load_champion("toy")
    (folder / "manifest.json").unlink()
    (folder / "model.skops").unlink()
    with pytest.raises(ModelRefusedError, match=r"manifest\.json can't be read \(No such file or directory\)"):
        registry.load("toy", version)


def list_refused(registry: ModelRegistry) -> list[RefusedVersion]:
    return [entry for entry in registry.list_all() if isinstance(entry, RefusedVersion)]


def test_a_damaged_champion_hides_no_version_and_the_next_promotion_mends_it(registry: ModelRegistry) -> None:
    first, second = save(registry), save(registry, WHEN + dt.timedelta(days=1))
    registry.promote("toy", first, reason="first")
    champion = registry.root / "toy" / "champion.json"
    champion.write_text('{"version": "')
    (registry.root / "toy" / first / "manifest.json").write_text("{half")
    assert registry.champion_version("toy") is None
    assert [(entry.version, entry.is_champion) for entry in registry.list_versions()] == [(second, False)]
    assert [(entry.version, "can't be read" in entry.problem) for entry in list_refused(registry)] == [(first, True)]
    registry.promote("toy", second, reason="trained again")
    assert registry.champion_version("toy") == second
    champion.write_text("")
    assert registry.retire("toy") is None and not champion.exists()


def test_pruning_keeps_the_newest_the_champion_and_what_a_rollback_reaches(registry: ModelRegistry) -> None:
    versions = [save(registry, WHEN + dt.timedelta(days=day)) for day in range(7)]
    for version in (versions[0], versions[2]):
        registry.promote("toy", version, reason="newer")
    assert registry.prune("toy", kept=2) == [versions[1], versions[3], versions[4]]
    assert [entry.version for entry in registry.list_versions()] == [versions[number] for number in (6, 5, 2, 0)]
    assert registry.roll_back("toy") == (versions[2], versions[0])
    (registry.root / "toy" / "champion.json").write_text("{")
    assert registry.prune("toy", kept=1) == []
    assert registry.prune("other", kept=1) == []


def test_a_damaged_report_of_the_last_training_counts_as_none(registry: ModelRegistry) -> None:
    registry.root.mkdir(parents=True, exist_ok=True)
    for text in ("", "[]", '{"models": 1}', "{}"):
        (registry.root / LAST_REPORT_FILE).write_text(text)
        assert registry.read_last_report() is None


def test_what_a_killed_training_leaves_is_cleared(registry: ModelRegistry) -> None:
    version = save(registry)
    half = registry.root / "toy" / ".writing-20260302T000000Z-abcdef01"
    half.mkdir()
    (half / "model.skops").write_bytes(b"half")
    (registry.root / "toy" / ".writing-champion.json").write_bytes(b"{")
    assert [entry.version for entry in registry.list_versions()] == [version]
    assert registry.clear_half_written() == ["toy/.writing-20260302T000000Z-abcdef01", "toy/.writing-champion.json"]
    assert [path.name for path in (registry.root / "toy").iterdir()] == [version]


def test_rolling_back_goes_through_the_earlier_champions(registry: ModelRegistry) -> None:
    first, second, third = (save(registry, WHEN + dt.timedelta(days=day)) for day in range(3))
    with pytest.raises(ModelRefusedError, match="toy has no champion"):
        registry.roll_back("toy")
    for version in (first, second, third):
        registry.promote("toy", version, reason="newer")
    assert registry.roll_back("toy") == (third, second)
    assert registry.roll_back("toy") == (second, first)
    with pytest.raises(ModelRefusedError, match=f"no champion before {first} is known"):
        registry.roll_back("toy")
    registry.promote("toy", third, reason="again")
    assert registry.roll_back("toy") == (third, first)


def test_a_version_of_an_older_format_is_outdated_not_broken(registry: ModelRegistry) -> None:
    version = save(registry)
    registry.promote("toy", version, reason="first")
    path = registry.root / "toy" / version / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["format"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelOutdatedError, match=r"another version of Funnelhouse \(format 1, this one reads 2\)"):
        registry.load_champion("toy")
    assert registry.list_versions() == []
    assert [entry.is_champion for entry in list_refused(registry)] == [True]


BESIDE_A_LAZY_MODULE = """
import sys, types, warnings

lazy = types.ModuleType("lazy")

def refuse(name):
    warnings.warn(f"lazy.{name} is deprecated", FutureWarning, stacklevel=2)
    raise AttributeError(name)

lazy.__getattr__ = refuse
sys.modules["lazy"] = lazy
import ml.io.model_file
import numpy as np, skops.io
skops.io.dumps(np.arcsinh)
"""


def test_modules_that_warn_of_every_name_are_not_heard() -> None:
    code = [sys.executable, "-W", "error::FutureWarning", "-c", BESIDE_A_LAZY_MODULE]
    done = subprocess.run(code, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
