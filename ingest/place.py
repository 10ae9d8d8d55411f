"""Changes to the lake that a kill at any instruction leaves repairable: one lock, whole folders, renames."""

from __future__ import annotations

import datetime as dt
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.durable import sync, write_durably
from foundation.errors import FunnelhouseError
from foundation.settings import Settings
from warehouse.flat import FLAT_FOLDER, flat_path
from warehouse.lake import MANIFEST_NAME, PARTITION_PREFIX, Manifest, partition_dir

logger = logging.getLogger(__name__)


class LakeLockedError(FunnelhouseError):
    """Another load is running on the same lake."""


def staging_dir(settings: Settings) -> Path:
    """Where files are fetched to and partitions put together; what a run finds here is left from a killed one."""
    return settings.home / "lake" / "staging"


def replaced_dir(settings: Settings) -> Path:
    """Where the old version of a day waits while the new one takes its place."""
    return settings.home / "lake" / "replaced"


def retired_dir(settings: Settings) -> Path:
    """Intraday partitions that Funnelhouse 0.1 put aside when a later day came; nothing is added to them."""
    return settings.home / "lake" / "retired"


@contextmanager
def hold_lake(settings: Settings) -> Iterator[None]:
    """Hold the lake for this process and repair what a killed one left. Raises LakeLockedError when it is taken.

    The lock is the operating system's, so it goes with its process, however that ends.
    """
    settings.lake_dir.mkdir(parents=True, exist_ok=True)
    lock_path = settings.lake_dir.parent / ".lock"
    with lock_path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "an unknown process"
            raise LakeLockedError(
                f"another load of {settings.lake_dir} is running ({holder}); wait for it to end and run again"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"process {os.getpid()}, since {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        _recover(settings)
        yield


def _recover(settings: Settings) -> None:
    """Bring back the days whose replacement was killed between its two renames; throw away what was half done."""
    for old in sorted(replaced_dir(settings).glob(f"{PARTITION_PREFIX}*")):
        current = settings.lake_dir / old.name
        if current.exists():
            shutil.rmtree(old)
        else:
            old.rename(current)
            logger.warning("%s: a load was killed while replacing this day; the previous version is back", old.name)
    shutil.rmtree(staging_dir(settings), ignore_errors=True)
    staging_dir(settings).mkdir(parents=True, exist_ok=True)


@contextmanager
def make_workspace(settings: Settings) -> Iterator[Path]:
    """An empty folder on the lake's own file system, gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=staging_dir(settings)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_partition(settings: Settings, manifest: Manifest, folder: Path) -> None:
    """Make `folder`, a day's lake files with their flat form, that day's partition; an older version of it goes.

    Readers of the folder see the old day, for an instant none, or the new one, and never a mixture.
    """
    for name in manifest.lake_files:
        sync(folder / name)
        sync(flat_path(folder / name))
    sync(folder / FLAT_FOLDER)
    _write_manifest(folder / MANIFEST_NAME, manifest)
    target = partition_dir(settings, dt.date.fromisoformat(manifest.event_date))
    if target.exists():
        old = replaced_dir(settings) / target.name
        old.parent.mkdir(parents=True, exist_ok=True)
        target.rename(old)
        folder.rename(target)
        sync(target.parent)
        shutil.rmtree(old)
    else:
        folder.rename(target)
        sync(target.parent)


def refresh_manifest(settings: Settings, manifest: Manifest) -> None:
    """Replace the manifest of a day whose rows have not changed."""
    with make_workspace(settings) as workspace:
        new = workspace / MANIFEST_NAME
        _write_manifest(new, manifest)
        new.replace(partition_dir(settings, dt.date.fromisoformat(manifest.event_date)) / MANIFEST_NAME)


def is_whole(settings: Settings, manifest: Manifest) -> bool:
    """True when every file that the manifest vouches for is still there; a flat one can be derived again."""
    folder = partition_dir(settings, dt.date.fromisoformat(manifest.event_date))
    return bool(manifest.lake_files) and all((folder / name).is_file() for name in manifest.lake_files)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    write_durably(path, f"{manifest.to_json()}\n".encode())
