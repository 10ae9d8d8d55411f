"""The people to forget: their ids as keyed hashes, by which ingestion keeps them out for good."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from foundation.durable import sync
from foundation.errors import FunnelhouseError
from foundation.settings import Settings

KEY_NAME, LIST_NAME = "key", "list.json"
_PRIVATE = 0o600


class ForgottenListError(FunnelhouseError):
    """The list of forgotten people cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Forgotten:
    """The list: logins and devices apart, since one person's login may read like another's device.

    `is_purged` is False from when an id is added until the lake holds no row of it any more.
    """

    key: str = field(repr=False)
    user_id_hashes: frozenset[str] = frozenset()
    device_hashes: frozenset[str] = frozenset()
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
        # an older list does not tell which kind its ids are of: each counts as both
        is_untyped = "id_hashes" in values
        user_ids = values["id_hashes" if is_untyped else "user_id_hashes"]
        devices = values["id_hashes" if is_untyped else "device_hashes"]
        return Forgotten(key, frozenset(user_ids), frozenset(devices), bool(values["is_purged"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForgottenListError(
            f"the list of forgotten people in {folder} cannot be read ({error}): put {KEY_NAME} and {LIST_NAME} back "
            "from a backup. Without them, the people on it would come back"
        ) from error


def add_forgotten(settings: Settings, *, user_ids: Iterable[str] = (), devices: Iterable[str] = ()) -> Forgotten:
    """Put ids on the list, for good. The caller holds the lake and removes their rows."""
    known = read_forgotten(settings) or Forgotten(_make_key(settings))
    added = replace(
        known,
        user_id_hashes=known.user_id_hashes | {hash_id(known.key, value) for value in user_ids},
        device_hashes=known.device_hashes | {hash_id(known.key, value) for value in devices},
        is_purged=False,
    )
    return _write(settings, added)


def mark_purged(settings: Settings, forgotten: Forgotten) -> Forgotten:
    """Note that the lake holds no row of anybody on the list."""
    return _write(settings, replace(forgotten, is_purged=True))


def _make_key(settings: Settings) -> str:
    settings.forgotten_dir.mkdir(parents=True, exist_ok=True)
    # a key without a list is left from a killed first time, and hides nobody
    key = secrets.token_hex(32)
    _replace(settings.forgotten_dir / KEY_NAME, key + "\n")
    return key


def _write(settings: Settings, forgotten: Forgotten) -> Forgotten:
    values = {
        "user_id_hashes": sorted(forgotten.user_id_hashes),
        "device_hashes": sorted(forgotten.device_hashes),
        "is_purged": forgotten.is_purged,
    }
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
    sync(path.parent)
