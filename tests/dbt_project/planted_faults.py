"""Deliberate faults in a copy of the dbt project, to see that the check of batch invariance catches them.

    python -m tests.dbt_project.planted_faults [FAULT …] [--examples N]

looks for a failing scenario among random ones, cuts it down and prints it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from foundation.settings import PROJECT_DIR
from tests.dbt_project.invariance import check_invariance, is_broken
from tests.dbt_project.recorded_builds import RecordedBuilds, make_recorded_settings
from tests.dbt_project.scenario_reduction import reduce_scenario
from tests.dbt_project.shop_scenarios import Act, Delivery, Scenario, Visit, scenarios


@dataclass(frozen=True)
class Fault:
    """What to change in which files of the dbt project, and a small scenario that is known to show it."""

    edits: dict[str, Callable[[str], str]]
    scenario: Scenario


def _replace(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        if text.count(old) != 1:
            raise ValueError(
                f"the fault no longer fits: expected once in the file, found {text.count(old)} times: {old!r}"
            )
        return text.replace(old, new)

    return edit


def _append(addition: str) -> Callable[[str], str]:
    return lambda text: text.rstrip() + "\n" + addition + "\n"


def _become(text: str) -> Callable[[str], str]:
    return lambda _: text + "\n"


def _cut_macro(name: str, body: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        start = text.index("-%}", text.index("{% macro " + name)) + len("-%}")
        return text[:start] + "\n    " + body + "\n" + text[text.index("{%- endmacro %}", start) :]

    return edit


def _portions(*portions: list[Delivery]) -> tuple[tuple[Delivery, ...], ...]:
    return tuple(map(tuple, portions))


FAULTS = {
    # Views at one moment, every other one exported with the next day: which is first must not depend on which day was.
    "events ordered by their timestamp alone": Fault(
        {"macros/project/rules.sql": _cut_macro("event_order(", "{{ prefix }}event_timestamp")},
        Scenario(
            tuple(
                Visit(
                    device,
                    0,
                    "10:00",
                    1,
                    tuple(Act("page_view", path=f"/{number}", exported_days_later=number % 2) for number in range(4)),
                )
                for device in ("phone", "laptop", "tablet")
            ),
            # the later table first: its rows then stand before those of the day before it, which a rebuild reads first
            _portions([Delivery(1)], [Delivery(0)]),
        ),
    ),
    # The order page again on the next day.
    "purchases deduplicated inside the increment": Fault(
        {
            "models/intermediate/people/int_purchase_events.sql": _append(
                "qualify row_number() over (\n"
                "    partition by event_name, coalesce(transaction_id, cast(event_hash as varchar))\n"
                "    order by {{ event_order() }}\n) = 1 or event_name = 'refund'"
            ),
            "models/intermediate/people/int_purchases.sql": _replace(
                "partition by coalesce(order_namespace || '|' || transaction_id, event_id)", "partition by event_id"
            ),
        },
        Scenario(
            (
                Visit("phone", 0, "10:00", 1, (Act("purchase", transaction_id="T1", amount=10.0),)),
                Visit("phone", 1, "10:00", 2, (Act("purchase", transaction_id="T1", amount=10.0),)),
            ),
            _portions([Delivery(0)], [Delivery(1)]),
        ),
    ),
    # A session that goes on after midnight is one of the day before, which nobody delivers again.
    "sessions cut at midnight": Fault(
        {
            "models/intermediate/touched/int_touched_session_dates.sql": _become(
                "select event_date as session_date from {{ ref('int_touched_event_dates') }} "
                "-- {{ ref('int_session_days') }}"
            )
        },
        Scenario(
            (Visit("phone", 0, "23:50", 1, (Act("page_view"), Act("page_view", 12, "/b"))),),
            _portions([Delivery(0)], [Delivery(1)]),
        ),
    ),
    # A late event joins two runs of a visitor without session ids, or moves the start of one on another day.
    "runs of events without a session id rebuilt on touched dates only": Fault(
        {
            "models/intermediate/touched/int_touched_event_dates.sql": _become(
                "select event_date from {{ source('ops', 'touched_dates') }} -- {{ ref('int_inferred_sessions') }}"
            )
        },
        Scenario(
            (
                Visit("phone", 0, "23:50", None, (Act("page_view"),)),
                Visit("phone", 1, "00:01", None, (Act("page_view", path="/b"),)),
            ),
            _portions([Delivery(1)], [Delivery(0)]),
        ),
    ),
}


class FaultyProject:
    """A copy of the dbt project with one planted fault at a time, and a home to build it in."""

    def __init__(self, folder: Path) -> None:
        self._project, self._home = folder / "dbt_project", folder / "home"

    def plant(self, name: str) -> RecordedBuilds:
        """Builds of the project with this fault alone; ValueError where the SQL has changed too much for it."""
        shutil.copytree(
            PROJECT_DIR / "dbt_project", self._project, ignore=shutil.ignore_patterns("target"), dirs_exist_ok=True
        )
        for file, edit in FAULTS[name].edits.items():
            path = self._project / file
            before = path.read_text(encoding="utf-8")
            after = edit(before)
            if after == before:
                raise ValueError(f"the fault {name!r} changes nothing in {file}")
            path.write_text(after, encoding="utf-8")
        return RecordedBuilds(make_recorded_settings(self._home, project=self._project))


def search(builds: RecordedBuilds, *, examples: int, random_seed: int, at_each_build: bool = False) -> Scenario | None:
    """A scenario that breaks the law, cut down; None where none of the examples does."""
    failing: list[Scenario] = []

    def fails(scenario: Scenario) -> bool:
        return is_broken(builds, scenario, at_each_build=at_each_build)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @seed(random_seed)
    @given(scenarios())
    def try_one(scenario: Scenario) -> None:
        if not failing and fails(scenario):
            failing.append(scenario)

    try_one()
    return reduce_scenario(failing[0], fails) if failing else None


def main() -> int:
    """Search for each fault; the exit code is the number of faults that were not caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"all of: {'; '.join(FAULTS)}")
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    missed = 0
    for name in options.faults or FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            builds = FaultyProject(Path(folder)).plant(name)
            scenario = search(builds, examples=options.examples, random_seed=options.seed)
            print(f"== {name}: {'not caught' if scenario is None else 'caught'} ({builds.count} builds)", flush=True)
            if scenario is None:
                missed += 1
                continue
            try:
                check_invariance(builds, scenario)
            except AssertionError as error:
                print(error, flush=True)
    return missed


if __name__ == "__main__":
    os.environ["FUNNELHOUSE_ENV_FILE"] = os.devnull
    sys.exit(main())
