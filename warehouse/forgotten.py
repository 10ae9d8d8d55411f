"""The people to forget: their ids as keyed hashes, by which ingestion keeps them out for good."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from warehouse.settings import Settings

KEY_NAME, LIST_NAME = "key", "list.json"
_PRIVATE = 0o600


class ForgottenListError(RuntimeError):
    """The list of forgotten people cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Forgotten:
    """The list. `is_purged` is False from when an id is added until the lake holds no row of it any more."""

    key: str = field(repr=False)
    id_hashes: frozenset[str] = frozenset()
    is_purged: bool = True


def hash_id(key: str, value: str) -> str:
    """sha256 of the key and the id, as hex; in SQL `sha256(key || id)`."""
    return hashlib.sha256((key + value).encode()).hexdigest()


def read_forgotten(settings: Settings) -> Forgotten | None:
    """The list; None when nobody was forgotten yet.

    Raises ForgottenListError when a part of it is missing or damaged: those people would come back.
    """
    folder = settings.forgotten_dir
    if not (folder / LIST_NAME).exists():
        return None
    try:
        values = json.loads((folder / LIST_NAME).read_text(encoding="utf-8"))
        key = (folder / KEY_NAME).read_text(encoding="utf-8").strip()
        if not key:
            raise ValueError("the key is empty")
        return Forgotten(key, frozenset(values["id_hashes"]), bool(values["is_purged"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForgottenListError(
            f"the list of forgotten people in {folder} cannot be read ({error}): put {KEY_NAME} and {LIST_NAME} back "
            "from a backup. Without them the people on it would come back"
        ) from error


def add_forgotten(settings: Settings, ids: Iterable[str]) -> Forgotten:
    """Put ids on the list, for good. The caller holds the lake and removes their rows."""
    known = read_forgotten(settings)
    key = known.key if known else _make_key(settings)
    old = known.id_hashes if known else frozenset()
    return _write(settings, Forgotten(key, old | {hash_id(key, value) for value in ids}, is_purged=False))


def mark_purged(settings: Settings, forgotten: Forgotten) -> Forgotten:
    """Note that the lake holds no row of anybody on the list."""
    return _write(settings, Forgotten(forgotten.key, forgotten.id_hashes, is_purged=True))


def _make_key(settings: Settings) -> str:
    settings.forgotten_dir.mkdir(parents=True, exist_ok=True)
    # a key without a list is left from a killed first time, and hides nobody
    key = secrets.token_hex(32)
    _replace(settings.forgotten_dir / KEY_NAME, key + "\n")
    return key


def _write(settings: Settings, forgotten: Forgotten) -> Forgotten:
    values = {"id_hashes": sorted(forgotten.id_hashes), "is_purged": forgotten.is_purged}
    _replace(settings.forgotten_dir / LIST_NAME, json.dumps(values, indent=1) + "\n")
    return forgotten


def _replace(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
