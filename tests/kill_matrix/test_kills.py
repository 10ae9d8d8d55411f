"""Five kills in a row: in the load, the build, the publication and the alerts. `tests.kill_matrix` has all others."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.kill_matrix.home import open_home
from tests.kill_matrix.matrix import compare_all, prepare_briefly
from tests.kill_matrix.points import Point, choose_points

SKIPPED = ("validate_landing", "validate_marts", "validate_scores")


@pytest.mark.slow
def test_a_run_after_five_that_were_killed_leaves_what_a_run_does_that_nobody_killed(tmp_path: Path) -> None:
    with open_home(tmp_path) as home:
        reference = prepare_briefly(home, sessions=400, skipping=SKIPPED)
        draw = random.Random(1)

        def choose(task: str) -> dict[str, Point]:
            points = choose_points(task, reference.traces[task], draw, (1, 1, 1))
            return {point.phase: point for point in points}

        posts = [
            index
            for index, event in enumerate(reference.traces["check_alerts"])
            if event["detail"].endswith("chat.postMessage")
        ]
        kills = [
            choose("load_changed_days")["during"],
            choose("build_marts")["during"],
            choose("publish")["before"],
            choose("publish")["after"],
            # Slack has the message, and nobody has noted it
            Point("check_alerts", "during", posts[0], "after"),
        ]
        home.restore("load_changed_days")
        for number, point in enumerate(kills):
            code = home.run("all", run_id=f"killed-{number}", kill=point.to_order(), skipping=SKIPPED)
            assert code == -9, point
        assert home.run("all", run_id="last", skipping=SKIPPED) == 0
        assert compare_all(home, reference) == []
        assert reference.messages
