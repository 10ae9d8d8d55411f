"""Thirty days with two incidents against a Slack that fails at random, the process killed at random."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from alert_warehouse import ShopDay, date_of, day, publish
from slack_server import CHANNEL_ID, TOKEN, Fault, SlackServer

from foundation.settings import PROJECT_DIR, Settings
from foundation.state import open_state

HISTORY = 40
CARTS, SLOW, BOTH = day(abandoned=185), day(duration=40.0), day(abandoned=190, duration=45.0)
BAD_DAYS = {5: CARTS, 6: CARTS, 7: BOTH, 8: BOTH, 9: SLOW, 10: SLOW, 11: SLOW}
SHOP = [ShopDay()] * HISTORY + [BAD_DAYS.get(index, ShopDay()) for index in range(30)]

FAULTS = [
    Fault("status", status=429, retry_after=0),
    Fault("status", status=500),
    Fault("status", status=503),
    Fault("reset"),
    Fault("slow", seconds=0.1),
    Fault("error", error="internal_error"),
    Fault("accepted_then_reset"),
    Fault("accepted_then_status", status=502),
    Fault("accepted_then_hang", seconds=1.3),
]
WEIGHTS = [3, 3, 2, 3, 2, 2, 4, 3, 1]


class Worker:
    """The forking process; kills a run at a chosen call, or after a chosen time."""

    def __init__(self, settings: Settings) -> None:
        environment = {
            **os.environ,
            "FUNNELHOUSE_HOME": str(settings.home),
            "FUNNELHOUSE_PROPERTY_TIMEZONE": "UTC",
            "FUNNELHOUSE_ALERT_RULES": str(settings.alert_rules),
            "FUNNELHOUSE_SLACK_TOKEN": TOKEN,
            "FUNNELHOUSE_SLACK_CHANNEL": CHANNEL_ID,
            "FUNNELHOUSE_SLACK_BASE_URL": settings.slack_base_url,
            # Threads do not survive a fork.
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("alert_worker.py"))],
            cwd=PROJECT_DIR,
            env={**environment, "PYTHONPATH": str(PROJECT_DIR)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.pid: int | None = None

    def run(self, run_id: str, as_of: dt.datetime, *, kill_after: float | None) -> int:
        """The exit code of one check; -9 when it was killed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"run_id": run_id, "as_of": as_of.isoformat()}) + "\n")
        self.process.stdin.flush()
        self.pid = int(self.process.stdout.readline())
        timer = threading.Timer(kill_after, self.kill) if kill_after is not None else None
        if timer is not None:
            timer.start()
        code = int(self.process.stdout.readline().removeprefix("exit "))
        self.pid = None
        if timer is not None:
            timer.cancel()
        return code

    def kill(self) -> None:
        """Kill the run that is under way."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def worker(slack_settings: Settings) -> Iterator[Worker]:
    slack_settings.home.mkdir(parents=True)
    worker = Worker(slack_settings)
    yield worker
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(30) == 0


def replay(slack_settings: Settings, slack: SlackServer, worker: Worker, chance: random.Random) -> Counter[str]:
    """All days, each checked until a run ends well with nothing left to send; counts what went wrong on the way."""
    happened: Counter[str] = Counter()
    # Faults come in the threads of the server, and only while a day may still fail.
    with_faults = True
    countdown = -1

    def choose_fault(method: str) -> Fault | None:
        if not with_faults or chance.random() > 0.3:
            return None
        (fault,) = chance.choices(FAULTS, WEIGHTS)
        happened[fault.kind] += 1
        return fault

    def watch(method: str, moment: str) -> None:
        nonlocal countdown
        countdown -= 1
        if countdown == 0:
            happened[f"killed_when_{moment}"] += 1
            worker.kill()

    slack.choose_fault, slack.watch = choose_fault, watch
    for index in range(30):
        publish(slack_settings, SHOP[: HISTORY + index + 1])
        as_of = dt.datetime.combine(date_of(HISTORY + index + 1), dt.time(12), tzinfo=dt.UTC)
        is_eventful = 5 <= index <= 12
        for attempt in range(12):
            with_faults = attempt < 8
            countdown, kill_after = -1, None
            if is_eventful and attempt < 1:
                if chance.random() < 0.75:
                    countdown = chance.randint(1, 14)
                else:
                    kill_after = chance.uniform(0.0, 0.6)
            code = worker.run(f"day-{index}-{attempt}", as_of, kill_after=kill_after)
            happened[f"exit_{code}"] += 1
            if code == 0:
                break
        else:
            raise AssertionError(f"day {index} never ended well: {happened}")
    return happened


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_two_incidents_are_two_messages_whatever_fails_and_wherever_it_is_killed(
    slack_settings: Settings, slack: SlackServer, worker: Worker, seed: int
) -> None:
    happened = replay(slack_settings, slack, worker, random.Random(seed))
    assert happened["exit_-9"] >= 4 and sum(happened[fault.kind] for fault in FAULTS) >= 15, happened

    parents = slack.parents()
    assert len(parents) == 2, [parent["text"] for parent in parents]
    keys = [message["metadata"]["event_payload"]["key"] for message in slack.messages]
    assert sorted(keys) == sorted(set(keys))
    threads = {
        parent["metadata"]["event_payload"]["key"]: [
            reply["text"] for reply in slack.told() if reply.get("thread_ts") == parent["ts"]
        ]
        for parent in parents
    }
    assert set(threads) == {
        "20260815-cart_abandonment_rate-above:slack",
        "20260817-avg_session_duration_seconds-below:slack",
    }
    assert [len(replies) for replies in threads.values()] == [4, 5]
    for replies, days in zip(threads.values(), (4, 5), strict=True):
        assert [text[:6] for text in replies[:-1]] == [f"{number} days" for number in range(2, days + 1)]
        assert replies[-1].startswith("✅") and replies[-1].endswith(f"It lasted {days} days.")
    for parent, until in zip(parents, ("Wed 19 Aug", "Sat 22 Aug"), strict=True):
        assert parent["blocks"][0]["text"]["text"].startswith("✅")
        assert f"normal again {until};" in parent["blocks"][1]["text"]["text"]
        assert "image" in {block["type"] for block in parent["blocks"]}
    with open_state(slack_settings) as state:
        statuses = {row[0] for row in state.execute("select status from alert_outbox")}
        assert statuses <= {"sent", "dropped"}
        assert [row[0] for row in state.execute("select status from alert_incidents")] == ["resolved"] * 2
