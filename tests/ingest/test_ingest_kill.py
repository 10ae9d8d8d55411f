"""A load killed at any moment leaves a lake that the next load makes equal to a clean one."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_writer import make_events, write_ndjson, write_parquet

from foundation.settings import PROJECT_DIR, Settings
from ingest.job import load_changed_days
from warehouse.lake import Manifest

DAYS = 10
KILLS = 15

# Imports once, then forks one load per line of input: the delay in seconds after which it is killed.
KILLER = """
import os, signal, sys, time
from ingest.job import load_changed_days
from foundation.settings import Settings
settings = Settings(source=sys.argv[1], home=sys.argv[2], property_timezone="UTC")
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        load_changed_days(settings, progress=False)
        os._exit(0)
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)
"""


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Callable[[float], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLER, str(tmp_path / "export"), str(tmp_path / "home")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT_DIR,
    )
    assert process.stdin and process.stdout
    stdin, stdout = process.stdin, process.stdout
    assert stdout.readline() == "ready\n"

    def kill_after(seconds: float) -> str:
        stdin.write(f"{seconds}\n")
        stdin.flush()
        return stdout.readline().strip()

    yield kill_after
    stdin.close()
    assert process.wait(timeout=30) == 0
    stdout.close()


def _write_day(source: Path, number: int, rows: int) -> None:
    day = f"202608{number:02}"
    if number % 2:
        write_parquet(source / f"events_{day}.parquet", make_events(rows, day))
    else:
        write_ndjson(source / f"events_{day}.json.gz", make_events(rows, day))


def _read_lake(settings: Settings) -> dict[str, dict[str, Any]]:
    manifests = {}
    for folder in sorted(settings.lake_dir.iterdir()):
        manifest = json.loads((folder / "_manifest.json").read_text())
        del manifest["loaded_at"]
        manifests[folder.name] = manifest
    return manifests


def _check_partitions(settings: Settings) -> None:
    """Every day that is in place is whole, whatever was killed."""
    with duckdb.connect() as connection:
        for folder in settings.lake_dir.iterdir():
            manifest = Manifest.from_json((folder / "_manifest.json").read_text())
            assert {path.name for path in folder.iterdir()} == {"_manifest.json", "flat", *manifest.lake_files}
            assert {path.name for path in (folder / "flat").iterdir()} == set(manifest.lake_files)
            for files in (folder, folder / "flat"):
                count = f"select count(*) from read_parquet('{files}/*.parquet')"
                assert connection.execute(count).fetchall() == [(manifest.row_count,)]


def test_kills_at_random_moments(
    tmp_path: Path, make_settings: Callable[..., Settings], killer: Callable[[float], str]
) -> None:
    source = tmp_path / "export"
    for number in range(1, DAYS + 1):
        _write_day(source, number, 20)
    clean = make_settings(source=str(source), home=tmp_path / "clean")
    seconds = load_changed_days(clean, progress=False).seconds
    settings = make_settings(source=str(source), home=tmp_path / "home")
    draw = random.Random(20260801)
    outcomes = []
    for attempt in range(KILLS):
        # The days change between kills, so that replacing a day is killed as often as putting a new one in place.
        for number in draw.sample(range(1, DAYS + 1), 4):
            _write_day(source, number, 20 + attempt)
        outcomes.append(killer(draw.uniform(0.02, 0.6 * seconds)))
        if settings.lake_dir.exists():
            _check_partitions(settings)
    assert outcomes.count("killed") >= KILLS // 2, outcomes

    load_changed_days(settings, progress=False)
    fresh = make_settings(source=str(source), home=tmp_path / "fresh")
    load_changed_days(fresh, progress=False)
    assert len(_read_lake(fresh)) == DAYS
    assert _read_lake(settings) == _read_lake(fresh)
    _check_partitions(settings)
    for leftover in ("staging", "replaced"):
        folder = settings.home / "lake" / leftover
        assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("killed_after", ["first rename", "second rename"])
def test_a_replacement_killed_between_its_renames_is_repaired(
    make_settings: Callable[..., Settings], tmp_path: Path, killed_after: str
) -> None:
    source = tmp_path / "export"
    _write_day(source, 1, 3)
    settings = make_settings(source=str(source))
    load_changed_days(settings)
    before = _read_lake(settings)
    day = settings.lake_dir / "event_date=2026-08-01"
    aside = settings.home / "lake" / "replaced" / day.name
    aside.parent.mkdir()
    day.rename(aside)
    if killed_after == "second rename":
        shutil.copytree(aside, day)
        (aside / "part-00000.parquet").unlink()  # it was being deleted
    assert load_changed_days(settings).days_loaded == []
    assert _read_lake(settings) == before
    assert not aside.exists()
