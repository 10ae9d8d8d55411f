"""Models on disk: `<name>/<version>/{model.skops,manifest.json,model_card.html}` and `<name>/champion.json`."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.pipeline import Pipeline

from foundation.errors import FunnelhouseError
from ml.core.contract import ContractError, FeatureContract

# To name a numpy or scipy function, skops asks every loaded module whether it has one of that name. Airflow's answer
# with a warning each time: a thousand lines in the log of a training.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"skops\.io\._utils")
import skops.io  # noqa: E402

MODEL_FILE = "model.skops"
MANIFEST_FILE = "manifest.json"
CARD_FILE = "model_card.html"
CHAMPION_FILE = "champion.json"
LAST_REPORT_FILE = "last_training.json"
WRITING_PREFIX = ".writing-"
MANIFEST_HASH = "manifest_sha256"
FORMAT = 2  # of the files of a version; raise it when an older one can't be read any more
MAX_HISTORY = 20  # earlier champions that a rollback can reach
ONLY = "all"  # the key of a model that is one pipeline
VERSION_PATTERN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")

# What our own pipelines hold beyond what skops trusts by itself (scikit-learn's estimators, numpy's arrays and ufuncs).
# Reviewed: each only holds or describes data; `partial` is loaded only around a function that is itself on the list.
TRUSTED_TYPES = (
    "numpy.dtype",  # of encoded categories and scaled columns
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",  # one tree: arrays of nodes
    "sklearn.tree._tree.Tree",  # one tree of a forest: arrays of nodes and values
    "functools.partial",  # HistGradientBoosting wraps check_array for its categorical columns
    "sklearn.utils.validation.check_array",
    "sklearn.utils._bunch.Bunch",  # a dictionary: the members of averaged models by name
)


class ModelRefusedError(FunnelhouseError):
    """A stored model is missing, broken, changed or holds something foreign; it is not loaded."""


class ModelOutdatedError(ModelRefusedError):
    """A stored model was written by an older Funnelhouse, in a form that is not read any more."""


@dataclass(frozen=True)
class StoredModel:
    """A model that has been read and checked; its pipelines by decision point (`all`: the only one)."""

    name: str
    version: str
    pipelines: dict[str, Pipeline]
    contract: FeatureContract
    manifest: dict[str, Any]

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of a model that has one."""
        return self.pipelines[ONLY]


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

    def save(
        self,
        name: str,
        model: Pipeline | dict[str, Pipeline],
        manifest: dict[str, Any],
        *,
        trained_at: dt.datetime,
        card: str | None = None,
    ) -> str:
        """Write a new version and return its id: UTC time of training and the first 8 digits of the model's hash.

        `model` is one pipeline or one for each decision point; `card` the model card's HTML. The folder appears under
        its final name only when it is complete and on disk. Raises `ModelRefusedError` if the model holds a type that
        could not be loaded again.
        """
        content = skops.io.dumps({ONLY: model} if isinstance(model, Pipeline) else model)
        foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
        if foreign:
            raise ModelRefusedError(f"{name}: the pipeline holds types that are not on the list: {', '.join(foreign)}")
        sha256 = hashlib.sha256(content).hexdigest()
        version = f"{trained_at.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{sha256[:8]}"
        folder = self.root / name
        temporary = folder / f"{WRITING_PREFIX}{version}"
        temporary.mkdir(parents=True)
        _write_durably(temporary / MODEL_FILE, content)
        if card is not None:
            _write_durably(temporary / CARD_FILE, card.encode())
        full = {
            **manifest,
            "format": FORMAT,
            "name": name,
            "version": version,
            "trained_at": trained_at.astimezone(dt.UTC).isoformat(),
            "model_sha256": sha256,
            "trusted_types": sorted(skops.io.get_untrusted_types(data=content)),
        }
        _write_durably(temporary / MANIFEST_FILE, _to_json({**full, MANIFEST_HASH: _hash_manifest(full)}))
        _sync_folder(temporary)
        os.rename(temporary, folder / version)  # noqa: PTH104
        _sync_folder(folder)
        return version

    def promote(self, name: str, version: str, *, reason: str) -> None:
        """Make a complete version the champion; readers see the old one or the new one, nothing between.

        The champion before it is remembered for `roll_back`. Raises `ModelRefusedError` for an unknown version.
        """
        if not VERSION_PATTERN.fullmatch(version) or not (self.root / name / version / MANIFEST_FILE).exists():
            raise ModelRefusedError(
                f"{name} has no version {version}: `python -m ml models` lists what there is in {self.root}"
            )
        earlier = self._read_champion(name)
        history = [] if earlier is None else [*earlier.get("history", []), earlier["version"]]
        self._write_champion(name, version, reason, [entry for entry in history if entry != version])

    def roll_back(self, name: str) -> tuple[str, str]:
        """Make the previous champion the champion again; returns the version that was it, and the one that is.

        Raises `ModelRefusedError` where there is no earlier one on disk.
        """
        champion = self._read_champion(name)
        if champion is None:
            raise ModelRefusedError(f"{name} has no champion: there is nothing to roll back")
        history = list(champion.get("history", []))
        while history:
            version = history.pop()
            if (self.root / name / version / MANIFEST_FILE).exists():
                self._write_champion(name, version, f"rolled back from {champion['version']}", history)
                return champion["version"], version
        raise ModelRefusedError(
            f"{name}: no champion before {champion['version']} is known; promote a version with "
            f"`python -m ml models promote {name} VERSION`, or retire it with `python -m ml retire {name}`"
        )

    def _write_champion(self, name: str, version: str, reason: str, history: list[str]) -> None:
        text = _to_json(
            {
                "version": version,
                "reason": reason,
                "previous": history[-1] if history else None,
                "history": history[-MAX_HISTORY:],
                "promoted_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            }
        )
        folder = self.root / name
        temporary = folder / f"{WRITING_PREFIX}{CHAMPION_FILE}"
        _write_durably(temporary, text)
        os.replace(temporary, folder / CHAMPION_FILE)  # noqa: PTH105
        _sync_folder(folder)

    def card_path(self, name: str, version: str) -> Path:
        """Where the model card of a version lies."""
        return self.root / name / version / CARD_FILE

    def write_last_report(self, report: dict[str, Any]) -> None:
        """Keep what the newest training said of each model; `trained_at` is that of the model trained longest ago."""
        path = self.root / LAST_REPORT_FILE
        about = {key: report[key] for key in ("trained_at", "sessions", "last_date")}
        models = {model["name"]: {**model, **about} for model in report["models"]}
        if path.exists():
            earlier = json.loads(path.read_text(encoding="utf-8"))["models"]
            models = {model["name"]: model for model in earlier if "trained_at" in model} | models
        entries = list(models.values())
        oldest = min((model["trained_at"] for model in entries), default=report["trained_at"])
        report = {**report, "models": entries, "trained_at": oldest}
        temporary = self.root / f".{LAST_REPORT_FILE}"
        _write_durably(temporary, _to_json(report))
        temporary.replace(path)

    def retire(self, name: str) -> str | None:
        """Leave a model without a champion; returns the version that was it. Its files stay."""
        previous = self.champion_version(name)
        if previous is not None:
            (self.root / name / CHAMPION_FILE).unlink()
            _sync_folder(self.root / name)
        return previous

    def champion_version(self, name: str) -> str | None:
        """The champion's version, None where there is none."""
        champion = self._read_champion(name)
        return None if champion is None else str(champion["version"])

    def _read_champion(self, name: str) -> dict[str, Any] | None:
        path = self.root / name / CHAMPION_FILE
        if not path.exists():
            return None
        champion = _read_json(path)
        for version in (champion.get("version"), *champion.get("history", [])):
            if not isinstance(version, str) or not VERSION_PATTERN.fullmatch(version):
                raise ModelRefusedError(f"{path}: {version!r} is not a version; train again or restore the file")
        return champion

    def load_champion(self, name: str) -> StoredModel | None:
        """The champion, checked as `load` checks; None where there is none."""
        version = self.champion_version(name)
        return None if version is None else self.load(name, version)

    def load(self, name: str, version: str) -> StoredModel:
        """Read one version. Raises `ModelRefusedError` if a file is missing or changed, or holds a foreign type."""
        folder = self.root / name / version
        manifest = self.read_manifest(name, version)
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
            content = skops.io.loads(content, trusted=list(TRUSTED_TYPES))
        except ModelRefusedError:
            raise
        except Exception as error:
            raise ModelRefusedError(f"{path} can't be read as a model ({error}): {_ADVICE}") from error
        if not isinstance(content, dict) or not content:
            raise ModelRefusedError(f"{path} holds a {type(content).__name__}, not pipelines by name: {_ADVICE}")
        for key, pipeline in content.items():
            if not isinstance(pipeline, Pipeline):
                raise ModelRefusedError(
                    f"{path} holds a {type(pipeline).__name__} as {key!r}, not a pipeline: {_ADVICE}"
                )
        try:
            contract = FeatureContract.from_dict(manifest.get("contract") or {})
        except ContractError as error:
            raise ModelRefusedError(f"{folder / MANIFEST_FILE}: {error}: {_ADVICE}") from error
        return StoredModel(name, version, content, contract, manifest)

    def read_manifest(self, name: str, version: str) -> dict[str, Any]:
        """What is known about a version; raises `ModelRefusedError` for a missing, broken or changed manifest."""
        path = self.root / name / version / MANIFEST_FILE
        manifest = _read_json(path)
        if manifest.get("format") != FORMAT:
            raise ModelOutdatedError(
                f"{path} was written by another version of Funnelhouse (format {manifest.get('format', 1)}, this one "
                f"reads {FORMAT}): train again with `python -m ml train`"
            )
        stored = manifest.pop(MANIFEST_HASH, None)
        if stored != _hash_manifest(manifest):
            raise ModelRefusedError(f"{path} is not what was written (its hash differs): {_ADVICE}")
        return manifest

    def list_versions(self) -> list[StoredVersion]:
        """Every complete version that can be read, by model name, newest first; outdated ones are left out."""
        versions = []
        for folder in sorted(path for path in self.root.glob("*") if path.is_dir()):
            champion = self.champion_version(folder.name)
            for path in sorted(folder.glob(f"*/{MANIFEST_FILE}"), reverse=True):
                version = path.parent.name
                if VERSION_PATTERN.fullmatch(version):
                    with suppress(ModelOutdatedError):
                        manifest = self.read_manifest(folder.name, version)
                        versions.append(StoredVersion(folder.name, version, version == champion, manifest))
        return versions


_ADVICE = "it is not loaded; restore it or train again with `python -m ml train`"


def _hash_manifest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(_to_json(manifest)).hexdigest()


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
