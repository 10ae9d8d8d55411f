"""Models on disk: `<name>/<version>/{model.skops,manifest.json}`, `<name>/champion.json`; each appears at once."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import skops.io
from sklearn.pipeline import Pipeline

from ml.core.contract import ContractError, FeatureContract

MODEL_FILE = "model.skops"
MANIFEST_FILE = "manifest.json"
CHAMPION_FILE = "champion.json"
LAST_REPORT_FILE = "last_training.json"
WRITING_PREFIX = ".writing-"
VERSION_PATTERN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")

# What our own pipelines hold beyond what skops trusts by itself (scikit-learn's estimators, numpy's arrays and ufuncs).
# Reviewed: each only holds or describes data; `partial` is loaded only around a function that is itself on the list.
TRUSTED_TYPES = (
    "numpy.dtype",  # of encoded categories and scaled columns
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",  # one tree: arrays of nodes
    "functools.partial",  # HistGradientBoosting wraps check_array for its categorical columns
    "sklearn.utils.validation.check_array",
)


class ModelRefusedError(RuntimeError):
    """A stored model is missing, broken, changed or holds something foreign; it is not loaded."""


@dataclass(frozen=True)
class StoredModel:
    """A model that has been read and checked."""

    name: str
    version: str
    pipeline: Pipeline
    contract: FeatureContract
    manifest: dict[str, Any]


@dataclass(frozen=True)
class StoredVersion:
    """One version on disk, unopened: its manifest, and whether it is the champion."""

    name: str
    version: str
    is_champion: bool
    manifest: dict[str, Any]


class ModelRegistry:
    """All versions of all models under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the registry for one training; a second one waits. The lock ends with the process, however it ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def clear_half_written(self) -> list[str]:
        """Remove what killed trainings left behind; returns the folders' and files' names. Call it under `lock`."""
        removed = []
        for path in sorted(self.root.glob(f"*/{WRITING_PREFIX}*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed.append(f"{path.parent.name}/{path.name}")
        return removed

    def save(self, name: str, pipeline: Pipeline, manifest: dict[str, Any], *, trained_at: dt.datetime) -> str:
        """Write a new version and return its id: UTC time of training and the first 8 digits of the model's hash.

        The folder appears under its final name only when it is complete and on disk. Raises `ModelRefusedError` if the
        pipeline holds a type that could not be loaded again.
        """
        content = skops.io.dumps(pipeline)
        foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
        if foreign:
            raise ModelRefusedError(f"{name}: the pipeline holds types that are not on the list: {', '.join(foreign)}")
        sha256 = hashlib.sha256(content).hexdigest()
        version = f"{trained_at.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{sha256[:8]}"
        folder = self.root / name
        temporary = folder / f"{WRITING_PREFIX}{version}"
        temporary.mkdir(parents=True)
        _write_durably(temporary / MODEL_FILE, content)
        full = {
            **manifest,
            "name": name,
            "version": version,
            "trained_at": trained_at.astimezone(dt.UTC).isoformat(),
            "model_sha256": sha256,
            "trusted_types": sorted(skops.io.get_untrusted_types(data=content)),
        }
        _write_durably(temporary / MANIFEST_FILE, _to_json(full))
        _sync_folder(temporary)
        os.rename(temporary, folder / version)  # noqa: PTH104
        _sync_folder(folder)
        return version

    def promote(self, name: str, version: str, *, reason: str) -> None:
        """Make a complete version the champion; readers see the old one or the new one, nothing between."""
        if not (self.root / name / version / MANIFEST_FILE).exists():
            raise ModelRefusedError(f"{name} has no version {version}")
        previous = self.champion_version(name)
        text = _to_json(
            {
                "version": version,
                "reason": reason,
                "previous": previous,
                "promoted_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            }
        )
        folder = self.root / name
        temporary = folder / f"{WRITING_PREFIX}{CHAMPION_FILE}"
        _write_durably(temporary, text)
        os.replace(temporary, folder / CHAMPION_FILE)  # noqa: PTH105
        _sync_folder(folder)

    def write_last_report(self, report: dict[str, Any]) -> None:
        """Keep what the newest training said, also of models that it did not train."""
        temporary = self.root / f".{LAST_REPORT_FILE}"
        _write_durably(temporary, _to_json(report))
        temporary.replace(self.root / LAST_REPORT_FILE)

    def retire(self, name: str) -> str | None:
        """Leave a model without a champion; returns the version that was it. Its files stay."""
        previous = self.champion_version(name)
        if previous is not None:
            (self.root / name / CHAMPION_FILE).unlink()
            _sync_folder(self.root / name)
        return previous

    def champion_version(self, name: str) -> str | None:
        """The champion's version, None where there is none."""
        path = self.root / name / CHAMPION_FILE
        if not path.exists():
            return None
        version = _read_json(path).get("version")
        if not isinstance(version, str) or not VERSION_PATTERN.fullmatch(version):
            raise ModelRefusedError(f"{path}: {version!r} is not a version; train again or restore the file")
        return version

    def load_champion(self, name: str) -> StoredModel | None:
        """The champion, checked as `load` checks; None where there is none."""
        version = self.champion_version(name)
        return None if version is None else self.load(name, version)

    def load(self, name: str, version: str) -> StoredModel:
        """Read one version. Raises `ModelRefusedError` if a file is missing or changed, or holds a foreign type."""
        folder = self.root / name / version
        manifest = _read_json(folder / MANIFEST_FILE)
        path = folder / MODEL_FILE
        if not path.exists():
            raise ModelRefusedError(f"{path} is missing: {_ADVICE}")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.get("model_sha256"):
            raise ModelRefusedError(f"{path} is not the file that was written (its sha256 differs): {_ADVICE}")
        try:
            foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
            if foreign:
                raise ModelRefusedError(f"{path} holds foreign types: {', '.join(foreign)}: {_ADVICE}")
            pipeline = skops.io.loads(content, trusted=list(TRUSTED_TYPES))
        except ModelRefusedError:
            raise
        except Exception as error:
            raise ModelRefusedError(f"{path} can't be read as a model ({error}): {_ADVICE}") from error
        if not isinstance(pipeline, Pipeline):
            raise ModelRefusedError(f"{path} holds a {type(pipeline).__name__}, not a pipeline: {_ADVICE}")
        try:
            contract = FeatureContract.from_dict(manifest.get("contract") or {})
        except ContractError as error:
            raise ModelRefusedError(f"{folder / MANIFEST_FILE}: {error}: {_ADVICE}") from error
        return StoredModel(name, version, pipeline, contract, manifest)

    def list_versions(self) -> list[StoredVersion]:
        """Every complete version, by model name, newest first."""
        versions = []
        for folder in sorted(path for path in self.root.glob("*") if path.is_dir()):
            champion = self.champion_version(folder.name)
            for path in sorted(folder.glob(f"*/{MANIFEST_FILE}"), reverse=True):
                version = path.parent.name
                if VERSION_PATTERN.fullmatch(version):
                    versions.append(StoredVersion(folder.name, version, version == champion, _read_json(path)))
        return versions


_ADVICE = "it is not loaded; restore it or train again with `python -m ml train`"


def _to_json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False).encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRefusedError(f"{path} can't be read ({error}): {_ADVICE}") from error
    if not isinstance(values, dict):
        raise ModelRefusedError(f"{path} holds no JSON object: {_ADVICE}")
    return values


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
