"""A small shop in a home folder whose states are kept, and the processes that work on it."""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from foundation.settings import PROJECT_DIR, Settings
from ml.io.registry import ModelRegistry
from sample_shop.job import deliver_rewritten_day, write_sample_shop
from sample_shop.options import SampleOptions
from tests.slack_server import CHANNEL_ID, TOKEN, SlackServer

BROKEN_FILE = "events_20260101.parquet"
DAYS_HELD_BACK = 3


class Home:
    """A home folder, always under the same path, with the Slack that it posts to; its states can be kept and restored.

    The path stays the same because the tables and dbt's cache name it.
    """

    def __init__(self, folder: Path, slack: SlackServer, log: TextIO) -> None:
        self.folder = folder
        self.slack = slack
        self.values: dict[str, Any] = {
            "home": str(folder / "home"),
            "property_timezone": "UTC",
            # beside the home: the loader would look again at files that are copied with it
            "source": str(folder / "shop" / "export"),
            "alert_rules": str(Path(__file__).with_name("rules.yml")),
            "training_budget_seconds": 1,
            "slack_token": TOKEN,
            "slack_channel": CHANNEL_ID,
            "slack_base_url": slack.base_url,
        }
        self.settings = Settings(**self.values)
        self.export = Path(self.values["source"])
        self._messages: dict[str, list[dict[str, Any]]] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kill_matrix.worker"],
            cwd=PROJECT_DIR,
            # threads do not survive a fork
            env={
                **os.environ,
                "FUNNELHOUSE_ENV_FILE": os.devnull,
                "OPENBLAS_NUM_THREADS": "1",
                "NO_PROXY": "127.0.0.1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def run(self, *tasks: str, run_id: str, **order: Any) -> int:
        """Run tasks ("all": a whole run) in a process of their own; its exit code, -9 when it was killed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps({"settings": self.values, "tasks": tasks, "run_id": run_id, **order})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline().removeprefix("exit "))

    def trace(self, task: str, run_id: str) -> list[dict[str, Any]]:
        """Run one task to its end; what it did, event by event."""
        path = self.folder / "trace.json"
        assert self.run(task, run_id=run_id, trace=str(path)) == 0, f"{task} failed"
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return events

    def keep(self, name: str) -> None:
        """Keep the present state under a name."""
        kept = self.folder / name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.settings.home, kept, symlinks=True)
        self._messages[name] = copy.deepcopy(self.slack.messages)

    def restore(self, name: str) -> None:
        """Make a kept state the present one."""
        shutil.rmtree(self.settings.home, ignore_errors=True)
        shutil.copytree(self.folder / name, self.settings.home, symlinks=True)
        self.slack.messages[:] = copy.deepcopy(self._messages[name])

    def count_messages(self) -> Counter[str]:
        """How often each message is in the channel, by its key."""
        return Counter(message["metadata"]["event_payload"]["key"] for message in self.slack.messages)

    def end(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def open_home(folder: Path) -> Iterator[Home]:
    """A home folder under `folder`, with a Slack and a worker; what the tasks say goes to a file beside it."""
    with SlackServer() as slack, (folder / "tasks.log").open("w", encoding="utf-8") as log:
        home = Home(folder, slack, log)
        try:
            yield home
        finally:
            home.end()


def write_first_days(home: Home, sessions: int) -> None:
    """Write the sample shop, and hold its last days back."""
    end = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=6)
    options = SampleOptions(sessions=sessions, days=20, end_date=end)
    write_sample_shop(home.settings, options, out=home.folder / "shop", progress=False)
    held_back = home.folder / "held_back"
    held_back.mkdir()
    newest = sorted(home.export.glob("events_2*"))[-DAYS_HELD_BACK:]
    intraday = home.export.glob("events_intraday_*")
    for path in [*newest, *intraday]:
        path.rename(held_back / path.name)


def deliver_last_days(home: Home) -> None:
    """Let the export change: new days with both incidents, a day rewritten, a file that cannot be read."""
    for path in (home.folder / "held_back").iterdir():
        shutil.copy(path, home.export / path.name)
    deliver_rewritten_day(home.settings, out=home.folder / "shop")
    (home.export / BROKEN_FILE).write_bytes(b"not a Parquet file")


def promote_all(settings: Settings) -> None:
    """Make champions of the trained versions: so small a shop does not pass every gate."""
    registry = ModelRegistry(settings.models_dir)
    for version in registry.list_versions():
        if not version.is_champion:
            registry.promote(version.name, version.version, reason="for the test")
