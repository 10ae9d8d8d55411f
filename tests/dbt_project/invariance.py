"""The law of batch invariance, as a check: deliver, build after each portion, compare with one full rebuild."""

from __future__ import annotations

import datetime as dt
import shutil
from collections import Counter
from typing import Any

from foundation.connect import open_published
from foundation.settings import Settings
from ingest.job import load_changed_days
from tests.dbt_project.recorded_builds import RecordedBuilds
from tests.dbt_project.shop_scenarios import DAYS, Scenario, write_delivery

# Everything that people and models read, and every table on the way to it. Left out are tables of `intermediate` that
# say what a build touches, which describe the build and not the shop, and views that only tables read.
_COMPARED = """
select table_schema || '.' || table_name
from information_schema.tables
where
    table_schema in ('marts', 'ml')
    or (table_type = 'BASE TABLE' and table_schema = 'staging')
    or (
        table_type = 'BASE TABLE' and table_schema = 'intermediate'
        and not regexp_matches(table_name, '^int_touched')
    )
    or (table_schema = 'ops' and table_name in ('event_counts', 'quarantined_events'))
order by 1
"""

_SHOWN_ROWS = 3

Rows = Counter[tuple[Any, ...]]


def read_tables(settings: Settings) -> dict[str, Rows]:
    """Every compared table of the published warehouse, as a bag of its rows; doubles to the last digit."""
    with open_published(settings) as connection:
        names = [name for (name,) in connection.execute(_COMPARED).fetchall()]
        return {
            name: Counter(tuple(map(repr, row)) for row in connection.execute(f"from {name}").fetchall())
            for name in names
        }


def check_invariance(builds: RecordedBuilds, scenario: Scenario, *, at_each_build: bool = False) -> None:
    """Raise AssertionError where the marts differ from those of one full rebuild of the same files.

    `at_each_build` compares after each portion, not only after the last: twice the builds.
    """
    settings = builds.settings
    builds.clear()
    # the first days ripen from provisional to complete while the portions arrive
    now = dt.datetime.combine(DAYS[0], dt.time(9), tzinfo=dt.UTC) + dt.timedelta(days=3)
    for number, portion in enumerate(scenario.portions, start=1):
        for delivery in portion:
            write_delivery(builds.export, scenario, delivery)
        load_changed_days(settings, progress=False)
        now += dt.timedelta(hours=16)
        builds.build(now=now)
        is_last = number == len(scenario.portions)
        if at_each_build or is_last:
            step_by_step, published = read_tables(settings), settings.published_path.read_bytes()
            rebuild_from_files(builds, now=now)
            compare(step_by_step, read_tables(settings), f"after portion {number} of\n{scenario!r}")
            settings.published_path.write_bytes(published)


def is_broken(builds: RecordedBuilds, scenario: Scenario, *, at_each_build: bool = False) -> bool:
    """Whether `check_invariance` finds a difference."""
    try:
        check_invariance(builds, scenario, at_each_build=at_each_build)
    except AssertionError:
        return True
    return False


def rebuild_from_files(builds: RecordedBuilds, *, now: dt.datetime) -> None:
    """Throw the lake and the warehouse away, and load and build everything that lies in the export at once."""
    shutil.rmtree(builds.settings.home / "lake", ignore_errors=True)
    builds.settings.published_path.unlink(missing_ok=True)
    load_changed_days(builds.settings, progress=False)
    builds.build(now=now, full_rebuild=True)


def compare(step_by_step: dict[str, Rows], at_once: dict[str, Rows], situation: str) -> None:
    """Raise AssertionError that names each table and the rows it has too many or too few."""
    assert step_by_step.keys() == at_once.keys()
    differences = []
    for name, expected in at_once.items():
        found = step_by_step[name]
        if found != expected:
            wrong, missing = list((found - expected).elements()), list((expected - found).elements())
            differences.append(f"{name}: {len(wrong)} rows that the full rebuild has not, {len(missing)} too few")
            differences += [f"  + {', '.join(row)}" for row in wrong[:_SHOWN_ROWS]]
            differences += [f"  - {', '.join(row)}" for row in missing[:_SHOWN_ROWS]]
    assert not differences, "the marts depend on how the days arrived, " + situation + "\n" + "\n".join(differences)
