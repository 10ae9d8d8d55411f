"""The demonstration: the shop lives beside a kept Airflow, what is told appears once, and leaving stops both."""

from __future__ import annotations

import datetime as dt
import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from foundation.errors import UsageError
from foundation.settings import PROJECT_DIR, Settings
from runner.demo import run_demo
from runner.processes import stop_processes
from sample_shop.live import LiveOptions, open_live_shop


@pytest.fixture
def demo(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A demonstration in a home that has a small shop already, with the Airflow of `fake_airflow/`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "fake_airflow"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(settings.home))
    settings.airflow_home.mkdir(parents=True)
    open_live_shop(settings, LiveOptions(sessions_a_day=40, history_days=2, live_days=20))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "runner", "demo", "--port", str(port), "--speed", "3600"]
    with subprocess.Popen(
        command,
        cwd=PROJECT_DIR,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell that runs the tests in the background has them ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        yield process
        process.kill()
    stop_processes(settings)


def wait_for(process: subprocess.Popen[str], text: str, *, seconds: float = 90) -> str:
    """Everything that is printed up to a line with the text."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
            if text in line:
                return
        lines.put(None)

    Thread(target=read, daemon=True).start()
    printed = ""
    while text not in printed:
        line = lines.get(timeout=seconds)
        assert line is not None, printed
        printed += line
    return printed


def test_the_shop_lives_until_it_is_interrupted(settings: Settings, demo: subprocess.Popen[str]) -> None:
    opened = open_live_shop(settings).clock
    assert "Airflow is running at http://127.0.0.1" in wait_for(demo, "the shop lives, 3600 times as fast")
    wait_for(demo, "events today")
    wait_for(demo, "events today")
    demo.send_signal(signal.SIGINT)
    assert demo.stdout is not None
    rest = demo.stdout.read()
    assert demo.wait(timeout=60) == 130 and "stopped the shop and Airflow" in rest, rest
    assert stop_processes(settings) == 0
    assert open_live_shop(settings).clock > opened + dt.timedelta(hours=1)


def test_it_has_a_shop_of_its_own(settings: Settings) -> None:
    with pytest.raises(UsageError, match="without FUNNELHOUSE_SOURCE"):
        run_demo(settings.model_copy(update={"source": "/export"}), port=8080, speed=60)
