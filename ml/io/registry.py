"""Models on disk: `<name>/<version>/{model.skops,manifest.json,model_card.html}` and `<name>/champion.json`."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.durable import sync, write_durably
from ml.core.contract import FeatureContract
from ml.core.errors import ModelRefusedError
from ml.core.record import ModelRecord
from ml.io.manifest import ADVICE, Manifest, format_json
from warehouse.champions import (
    CHAMPION_FILE,
    VERSION_PATTERN,
    WRITING_PREFIX,
    Champion,
    ChampionError,
    read_champion,
    remove_champion,
    write_champion,
)

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

log = logging.getLogger(__name__)

MODEL_FILE = "model.skops"
MANIFEST_FILE = "manifest.json"
CARD_FILE = "model_card.html"
LAST_REPORT_FILE = "last_training.json"
ONLY_PIPELINE = "all"  # the key of a model that is one pipeline


@dataclass(frozen=True)
class StoredModel:
    """A model that has been read and checked; its pipelines by decision point (`all`: the only one)."""

    name: str
    version: str
    pipelines: dict[str, Pipeline]
    manifest: Manifest

    @property
    def contract(self) -> FeatureContract:
        """What it expects of its columns."""
        return self.manifest.record.contract

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of a model that has one."""
        return self.pipelines[ONLY_PIPELINE]


@dataclass(frozen=True)
class StoredVersion:
    """One version on disk, unopened: its manifest, and whether it is the champion."""

    name: str
    version: str
    is_champion: bool
    manifest: Manifest


@dataclass(frozen=True)
class RefusedVersion:
    """One version on disk that can't be read, and why."""

    name: str
    version: str
    is_champion: bool
    problem: str


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

    def prune(self, name: str, *, kept: int) -> list[str]:
        """Remove old versions of a model; returns their ids. Call it under `lock`.

        Kept are the newest `kept`, the champion and those that a rollback can reach.
        """
        champion = self._find_champion(name)
        if champion is None and (self.root / name / CHAMPION_FILE).exists():
            return []  # its file is damaged: any of them may be wanted
        wanted = set() if champion is None else {champion.version, *champion.history}
        folders = sorted(path for path in (self.root / name).glob("*") if VERSION_PATTERN.fullmatch(path.name))
        old = [path for path in folders[: max(len(folders) - kept, 0)] if path.name not in wanted]
        for path in old:
            # under a name that a later training clears away, should this one be killed
            doomed = path.with_name(f"{WRITING_PREFIX}{path.name}")
            path.rename(doomed)
            shutil.rmtree(doomed)
        return [path.name for path in old]

    def save(
        self,
        name: str,
        model: Pipeline | dict[str, Pipeline],
        record: ModelRecord,
        *,
        trained_at: dt.datetime,
        card: str | None = None,
    ) -> str:
        """Write a new version and return its id: UTC time of training and the first 8 digits of the model's hash.

        `model` is one pipeline or one for each decision point; `card` the model card's HTML. The folder appears under
        its final name only when it is complete and on disk. Raises `ModelRefusedError` if the model holds a type that
        could not be loaded again.
        """
        # scikit-learn takes seconds to import: who only reads manifests goes without
        from ml.io.model_file import dump_pipelines, list_trusted_types

        content = dump_pipelines(name, model if isinstance(model, dict) else {ONLY_PIPELINE: model})
        sha256 = hashlib.sha256(content).hexdigest()
        version = f"{trained_at.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{sha256[:8]}"
        folder = self.root / name
        temporary = folder / f"{WRITING_PREFIX}{version}"
        temporary.mkdir(parents=True)
        write_durably(temporary / MODEL_FILE, content)
        if card is not None:
            write_durably(temporary / CARD_FILE, card.encode())
        manifest = Manifest(
            name=name,
            version=version,
            trained_at=trained_at.astimezone(dt.UTC).isoformat(),
            model_sha256=sha256,
            trusted_types=list_trusted_types(content),
            record=record,
        )
        write_durably(temporary / MANIFEST_FILE, manifest.to_json().encode())
        sync(temporary)
        os.rename(temporary, folder / version)  # noqa: PTH104
        sync(folder)
        return version

    def promote(self, name: str, version: str, *, reason: str) -> None:
        """Make a complete version the champion; readers see the old one or the new one, nothing between.

        The champion before it is remembered for `roll_back`, unless its file is damaged. Raises `ModelRefusedError` for
        an unknown version.
        """
        if not VERSION_PATTERN.fullmatch(version) or not (self.root / name / version / MANIFEST_FILE).exists():
            raise ModelRefusedError(
                f"{name} has no version {version}: `python -m ml models` lists those in {self.root}"
            )
        earlier = self._find_champion(name)
        history = [] if earlier is None else [*earlier.history, earlier.version]
        kept = [entry for entry in history if entry != version]
        write_champion(self.root, name, version, reason=reason, history=kept)

    def roll_back(self, name: str) -> tuple[str, str]:
        """Make the previous champion the champion again; returns the version that was it, and the one that is.

        Raises `ModelRefusedError` where there is no earlier one on disk.
        """
        champion = read_champion(self.root, name)
        if champion is None:
            raise ModelRefusedError(f"{name} has no champion: there is nothing to roll back")
        history = list(champion.history)
        while history:
            version = history.pop()
            if (self.root / name / version / MANIFEST_FILE).exists():
                reason = f"rolled back from {champion.version}"
                write_champion(self.root, name, version, reason=reason, history=history)
                return champion.version, version
        raise ModelRefusedError(
            f"{name}: no champion before {champion.version} is known; promote a version with "
            f"`python -m ml models promote {name} VERSION`, or retire it with `python -m ml retire {name}`"
        )

    def card_path(self, name: str, version: str) -> Path:
        """Where the model card of a version lies."""
        return self.root / name / version / CARD_FILE

    def write_last_report(self, report: dict[str, Any]) -> None:
        """Keep what the newest training said of each model; `trained_at` is that of the model trained longest ago."""
        about = {key: report[key] for key in ("trained_at", "sessions", "last_date")}
        models = {model["name"]: {**model, **about} for model in report["models"]}
        earlier = self.read_last_report()
        if earlier is not None:
            models = {model["name"]: model for model in earlier["models"] if "trained_at" in model} | models
        entries = list(models.values())
        oldest = min((model["trained_at"] for model in entries), default=report["trained_at"])
        report = {**report, "models": entries, "trained_at": oldest}
        temporary = self.root / f".{LAST_REPORT_FILE}"
        write_durably(temporary, format_json(report).encode())
        temporary.replace(self.root / LAST_REPORT_FILE)

    def read_last_report(self) -> dict[str, Any] | None:
        """What `write_last_report` keeps; None before the first training."""
        path = self.root / LAST_REPORT_FILE
        if not path.exists():
            return None
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            return {**report, "models": [dict(model) for model in report["models"]]}
        except (OSError, ValueError, TypeError, KeyError) as error:
            # it only spares trainings that would find nothing new: the next one writes it anew
            log.warning("%s can't be read (%r): taken as if there were none", path, error)
            return None

    def retire(self, name: str) -> str | None:
        """Leave a model without a champion; returns the version that was it. Its files stay."""
        previous = self.champion_version(name)
        if (self.root / name).exists():
            remove_champion(self.root, name)
        return previous

    def champion_version(self, name: str) -> str | None:
        """The champion's version; None where there is none, or where its file names none."""
        champion = self._find_champion(name)
        return None if champion is None else champion.version

    def load_champion(self, name: str) -> StoredModel | None:
        """The champion, checked as `load` checks; None where there is none. Raises `ModelRefusedError`."""
        try:
            champion = read_champion(self.root, name)
        except ChampionError as error:
            raise ModelRefusedError(str(error)) from error
        return None if champion is None else self.load(name, champion.version)

    def _find_champion(self, name: str) -> Champion | None:
        try:
            return read_champion(self.root, name)
        except ChampionError as error:
            log.warning("%s", error)
            return None

    def load(self, name: str, version: str) -> StoredModel:
        """Read one version. Raises `ModelRefusedError` if a file is missing or changed, or holds a foreign type."""
        folder = self.root / name / version
        manifest = self.read_manifest(name, version)
        path = folder / MODEL_FILE
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelRefusedError(f"{path} can't be read ({error.strerror}): {ADVICE}") from error
        if hashlib.sha256(content).hexdigest() != manifest.model_sha256:
            raise ModelRefusedError(f"{path} is not the file that was written (its sha256 differs): {ADVICE}")
        from ml.io.model_file import load_pipelines

        return StoredModel(name, version, load_pipelines(path, content), manifest)

    def read_manifest(self, name: str, version: str) -> Manifest:
        """What is known about a version; raises `ModelRefusedError` for a missing, broken or changed manifest."""
        path = self.root / name / version / MANIFEST_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else str(error)
            raise ModelRefusedError(f"{path} can't be read ({problem}): {ADVICE}") from error
        return Manifest.from_json(text, where=str(path))

    def list_versions(self) -> list[StoredVersion]:
        """Every complete version that can be read, by model name, newest first."""
        return [version for version in self.list_all() if isinstance(version, StoredVersion)]

    def list_all(self) -> Iterator[StoredVersion | RefusedVersion]:
        """Every version, by model name, newest first: its manifest, or why it can't be read."""
        for folder in sorted(path for path in self.root.glob("*") if path.is_dir()):
            champion = self.champion_version(folder.name)
            for path in sorted(folder.glob("*"), reverse=True):
                if not VERSION_PATTERN.fullmatch(path.name):
                    continue
                is_champion = path.name == champion
                try:
                    manifest = self.read_manifest(folder.name, path.name)
                except ModelRefusedError as error:
                    yield RefusedVersion(folder.name, path.name, is_champion, str(error))
                else:
                    yield StoredVersion(folder.name, path.name, is_champion, manifest)
