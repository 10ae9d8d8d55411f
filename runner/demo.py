"""The demonstration: a shop that lives, breaks and is mended, and what Funnelhouse says of it while it happens."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from alerts.summary import tell_incidents
from foundation.dag_names import PIPELINE
from foundation.errors import FunnelhouseError, UsageError
from foundation.settings import PROJECT_DIR, Settings
from runner.airflow_api import AirflowApi
from runner.airflow_parts import ADMIN, admin_password
from runner.kept import find_kept, stop_kept
from runner.main_job import say, start_and_keep
from sample_shop.job import LIVE_NAME

SPEED = 60.0
BREAK_AT = "10:00"
_RUN_SECONDS = 1_800


class DemoError(FunnelhouseError):
    """The demonstration cannot go on."""


def run_demo(settings: Settings, *, port: int, speed: float) -> None:
    """Let a shop live in the home, and run the pipeline again and again; until its last day is over or Ctrl-C.

    The shop opens once the first run has published its past, so that nothing is waited for but the alert. Leaving stops
    the shop and Airflow; the next time it goes on where it was.
    """
    if settings.source is not None:
        raise UsageError("the demonstration has a shop of its own: run it without FUNNELHOUSE_SOURCE")
    is_there = (settings.sample_export_dir.parent / LIVE_NAME).exists()
    say("going on with the shop that lives here" if is_there else "writing the past of a shop that lives")
    options = () if is_there else ("--break-at", BREAK_AT)
    subprocess.run(_live("--prepare", *options), cwd=PROJECT_DIR, check=True)
    try:
        url = start_and_keep(settings, port=port)
        print(f"Airflow is running at {url}\n  user {ADMIN}, password {admin_password(settings)}", flush=True)
        kept = find_kept(settings)
        if kept is None:
            raise DemoError("Airflow has ended; its logs are in logs/ in the home")
        api = kept[0]
        say("publishing what has happened so far; the first time that takes two minutes")
        told = _run_and_tell(api, settings, tell_incidents(settings))
        say(f"the shop lives, {speed:g} times as fast as the clock; at {BREAK_AT} its checkout breaks on mobile")
        say("Ctrl-C ends the demonstration")
        with _living(speed) as shop:
            while shop.poll() is None:
                told = _run_and_tell(api, settings, told)
    finally:
        stop_kept(settings)
        say("stopped the shop and Airflow")


def _live(*options: str) -> list[str]:
    return [sys.executable, "-m", "sample_shop", "live", *options]


@contextmanager
def _living(speed: float) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(_live("--speed", f"{speed:g}"), cwd=PROJECT_DIR) as shop:
        try:
            yield shop
        finally:
            shop.terminate()


def _run_and_tell(api: AirflowApi, settings: Settings, told: dict[str, str]) -> dict[str, str]:
    """Run the pipeline once and print each message that says something else than before; what they say now."""
    _run_once(api)
    now = tell_incidents(settings)
    for incident_id, text in now.items():
        if told.get(incident_id) != text:
            print(f"\n{_framed(text)}\n", flush=True)
    return now


def _run_once(api: AirflowApi) -> None:
    run_id = api.trigger(PIPELINE)
    deadline = time.monotonic() + _RUN_SECONDS
    while (state := api.get_run(PIPELINE, run_id)["state"]) not in ("success", "failed"):
        if time.monotonic() > deadline:
            raise DemoError(f"{PIPELINE} run {run_id} takes longer than anybody should wait")
        time.sleep(1)
    if state == "failed":
        say(f"{PIPELINE}: run {run_id} failed; its page in Airflow says why. Trying again")


def _framed(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(["  ┌" + "─" * 100, *(f"  │ {line}" for line in lines), "  └" + "─" * 100])
