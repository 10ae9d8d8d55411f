"""Readers in other processes, while one version after another is published."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from foundation.connect import open_build
from foundation.settings import Settings
from warehouse.transaction import begin, publish

PROJECT = Path(__file__).resolve().parents[2]
PUBLICATIONS, READINGS = 10, 1_000

# Reads until it is told to stop, and so often at least; prints how often each version was read.
_READ = """
import collections, sys, threading
from foundation.connect import open_published
from foundation.settings import Settings
home, least = sys.argv[1], int(sys.argv[2])
settings = Settings(home=home, property_timezone="UTC")
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
seen, last = collections.Counter(), 0
while not stop.is_set() or seen.total() < least:
    with open_published(settings) as connection:
        rows = connection.execute(
            "select version, (select min(version) from marts.right_hand), (select max(version) from marts.right_hand),"
            " count(*), (select count(*) from marts.right_hand) from marts.left_hand group by version"
        ).fetchall()
    (version, smallest, largest, left, right), = rows
    assert version == smallest == largest and left == right == 1000 * version, rows
    assert version >= last, (version, last)
    seen[version], last = seen[version] + 1, version
    if seen.total() == 1:
        print("reading", flush=True)
print(sorted(seen), seen.total(), flush=True)
"""


def publish_version(settings: Settings, version: int) -> None:
    """Publish two tables that both hold a thousand rows for each version so far, all of this one."""
    begin(settings, run_id=f"run-{version}", full_rebuild=version == 1)
    with open_build(settings) as connection:
        for table in ("left_hand", "right_hand"):
            connection.execute(
                f"create or replace table marts.{table} as select {version} as version from range({1000 * version})"
            )
        connection.execute("create schema if not exists intermediate")
        connection.execute(
            "create or replace table intermediate.int_days (is_provisional boolean, complete_at timestamp)"
        )
        connection.execute("create or replace table ops.built_partitions (event_date date, content_hash varchar)")
    assert publish(settings, run_id=f"run-{version}")


def test_a_reader_that_reopens_a_thousand_times_sees_whole_versions_only(settings: Settings) -> None:
    publish_version(settings, 1)
    reader = subprocess.Popen(
        [sys.executable, "-c", _READ, str(settings.home), str(READINGS)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    for version in range(2, PUBLICATIONS + 2):
        publish_version(settings, version)
        time.sleep(0.1)
    said, errors = reader.communicate("", timeout=120)
    assert reader.returncode == 0, errors
    versions, _, total = said.rpartition(" ")
    assert int(total) >= READINGS
    # it read while they were published, not only before and after
    assert len(versions.split(",")) >= PUBLICATIONS // 2, said
