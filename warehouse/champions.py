"""Which version of each model scores: `<name>/champion.json` in the models folder, read and written here alone."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.durable import sync, write_durably
from foundation.errors import FunnelhouseError

CHAMPION_FILE = "champion.json"
WRITING_PREFIX = ".writing-"  # of whatever in the models folder is not finished
VERSION_PATTERN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
MAX_HISTORY = 20  # earlier champions that a rollback can reach
UNREADABLE = "unreadable"  # stands for the version where the file names none


class ChampionError(FunnelhouseError):
    """The file that names a model's champion cannot be read, or names no version."""


@dataclass(frozen=True)
class Champion:
    """The version of a model that scores, and those that did before it."""

    version: str
    reason: str = ""
    history: tuple[str, ...] = ()  # earlier champions, oldest first
    promoted_at: str | None = None  # ISO, UTC

    @property
    def previous(self) -> str | None:
        """The champion before it."""
        return self.history[-1] if self.history else None

    def to_json(self) -> str:
        """The champion as it stands in the file."""
        values = {
            "version": self.version,
            "reason": self.reason,
            "previous": self.previous,
            "history": self.history,
            "promoted_at": self.promoted_at,
        }
        return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Champion:
        """Read what `to_json` wrote; raises ValueError where a version does not look like one."""
        values: dict[str, Any] = json.loads(text)
        champion = cls(
            values["version"], values.get("reason", ""), tuple(values.get("history", ())), values.get("promoted_at")
        )
        for version in (champion.version, *champion.history):
            if not isinstance(version, str) or not VERSION_PATTERN.fullmatch(version):
                raise ValueError(f"{version!r} is not a version")
        return champion


def read_champion(models_dir: Path, name: str) -> Champion | None:
    """The champion of a model, None where it has none. Raises ChampionError for a file that names no version."""
    path = models_dir / name / CHAMPION_FILE
    try:
        return Champion.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{error!r}" if isinstance(error, KeyError) else str(error)
        raise ChampionError(
            f"{path} names no champion ({problem}): restore it, choose a version with "
            f"`python -m ml models promote {name} VERSION`, or train again"
        ) from error


def read_champion_versions(models_dir: Path) -> dict[str, str]:
    """Name and version of each champion; `UNREADABLE` where the file is damaged."""
    versions = {}
    for name in sorted(path.parent.name for path in models_dir.glob(f"*/{CHAMPION_FILE}")):
        try:
            champion = read_champion(models_dir, name)
        except ChampionError:
            versions[name] = UNREADABLE
            continue
        if champion is not None:
            versions[name] = champion.version
    return versions


def write_champion(models_dir: Path, name: str, version: str, *, reason: str, history: Sequence[str]) -> None:
    """Make a version the champion; readers see the old one or the new one, nothing between."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    champion = Champion(version, reason, tuple(history[-MAX_HISTORY:]), now)
    folder = models_dir / name
    temporary = folder / f"{WRITING_PREFIX}{CHAMPION_FILE}"
    write_durably(temporary, champion.to_json().encode())
    temporary.replace(folder / CHAMPION_FILE)
    sync(folder)


def remove_champion(models_dir: Path, name: str) -> None:
    """Leave a model without a champion."""
    (models_dir / name / CHAMPION_FILE).unlink(missing_ok=True)
    sync(models_dir / name)
