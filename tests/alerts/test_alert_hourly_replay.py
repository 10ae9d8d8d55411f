"""Hours with two breaks against a Slack that fails at random, the process killed at random: each is told once.

`HOURLY_REPLAY_DAYS=14 python -m pytest tests/alerts/test_alert_hourly_replay.py` is the long form.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hourly_shop import HourlyShop, hour_of, moment_of
from slack_server import CHANNEL_ID, TOKEN, Fault, SlackServer
from test_alert_replay import FAULTS, WEIGHTS, Worker

from foundation.settings import Settings
from foundation.state import open_state

HISTORY = 30
DAYS = int(os.environ.get("HOURLY_REPLAY_DAYS", "2"))
# the breaks lie on the last two days but one
FIRST, SECOND = HISTORY + DAYS - 2, HISTORY + DAYS - 1
SHOP = HourlyShop(
    days=HISTORY + DAYS + 1,
    broken={("mobile", hour_of(FIRST, hour)): 0.0 for hour in range(10, 14)},
    quiet={hour_of(SECOND, hour): 0.05 for hour in range(12, 17)},
)


@pytest.fixture
def hourly_settings(make_settings: Callable[..., Settings], slack: SlackServer) -> Settings:
    return make_settings(
        alert_rules=Path(__file__).with_name("hourly_rules.yml"),
        slack_token=TOKEN,
        slack_channel=CHANNEL_ID,
        slack_base_url=slack.base_url,
    )


@pytest.fixture
def worker(hourly_settings: Settings) -> Iterator[Worker]:
    hourly_settings.home.mkdir(parents=True)
    worker = Worker(hourly_settings)
    yield worker
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(30) == 0


def replay(settings: Settings, slack: SlackServer, worker: Worker, chance: random.Random) -> Counter[str]:
    """All hours, each checked until a run ends well with nothing left to send; counts what went wrong on the way."""
    happened: Counter[str] = Counter()
    with_faults, countdown = True, -1

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
            worker.kill()

    slack.choose_fault, slack.watch = choose_fault, watch
    begin = HISTORY * 24 if DAYS > 2 else hour_of(FIRST, 9)
    for hour in range(begin, hour_of(SECOND, 20)):
        moment = moment_of(0, hour)
        SHOP.publish(settings, moment)
        is_eventful = hour_of(FIRST, 11) <= hour <= hour_of(FIRST, 19) or hour >= hour_of(SECOND, 13)
        for attempt in range(12):
            with_faults, countdown, kill_after = attempt < 8, -1, None
            if is_eventful and attempt == 0:
                if chance.random() < 0.6:
                    countdown = chance.randint(1, 10)
                else:
                    kill_after = chance.uniform(0.0, 0.5)
            code = worker.run(f"hour-{hour}-{attempt}", moment + dt.timedelta(minutes=5), kill_after=kill_after)
            happened[f"exit_{code}"] += 1
            if code == 0:
                break
        else:
            raise AssertionError(f"hour {hour} never ended well: {happened}")
    return happened


@pytest.mark.slow
def test_two_breaks_are_two_messages_each_over_by_the_hour(
    hourly_settings: Settings, slack: SlackServer, worker: Worker
) -> None:
    happened = replay(hourly_settings, slack, worker, random.Random(1))
    assert happened["exit_-9"] >= 4 and sum(happened[fault.kind] for fault in FAULTS) >= 8, happened

    parents = slack.parents()
    told = [" ".join(block["text"]["text"] for block in parent["blocks"][:2]) for parent in parents]
    assert len(parents) == 2, told
    assert told[0].startswith("✅ Cart abandonment rate, mobile 0 of ") and told[0].endswith(", 10:00 to 14:00.")
    assert told[1].startswith("✅ ") and "Events" in told[1] and told[1].endswith(", 12:00 to 17:00.")
    keys = [message["metadata"]["event_payload"]["key"] for message in slack.messages]
    assert sorted(keys) == sorted(set(keys))
    for parent in parents:
        replies = [reply["text"] for reply in slack.told() if reply.get("thread_ts") == parent["ts"]]
        assert sum(text.startswith("✅") for text in replies) == 1, replies
    with open_state(hourly_settings) as state:
        assert {row[0] for row in state.execute("select status from alert_outbox")} <= {"sent", "dropped"}
        assert {row[0] for row in state.execute("select status from alert_incidents")} == {"resolved"}
