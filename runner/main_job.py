"""The main job: run the DAGs through Airflow's scheduler to their end, and say what happened."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from foundation.dag_names import FORMER_PIPELINE, PIPELINE
from foundation.errors import FunnelhouseError
from foundation.settings import Settings, show_path
from runner.airflow_api import AirflowApi, AirflowApiError
from runner.airflow_parts import (
    API_SERVER,
    DAG_PROCESSOR,
    TRIGGERER,
    AirflowParts,
    AirflowStartError,
    connect,
    prepare,
    task_log_file,
)
from runner.failures import explain_failure
from runner.kept import find_kept, remember_kept, stop_kept
from runner.retention import is_due, remove_old

RETRAINING = "model_retraining"
FOLLOWUP = "alert_followup"
DAGS = (PIPELINE, RETRAINING, FOLLOWUP)
FOLLOWED = (PIPELINE, RETRAINING)  # by a run
POOL = "warehouse_build"


class RunFailedError(FunnelhouseError):
    """A DAG run failed; the message names the task and shows its last log lines."""


class RunTimeoutError(FunnelhouseError):
    """Airflow, or a run, took longer than anybody should wait."""


@dataclass
class RunOutcome:
    """What the runs of one main job returned: (DAG id, task id) → value, the newest run last."""

    results: list[tuple[str, str, Any]] = field(default_factory=list)

    def of(self, dag_id: str, task_id: str) -> list[Any]:
        """The values of one task in each run, oldest first."""
        return [value for dag, task, value in self.results if (dag, task) == (dag_id, task_id) and value is not None]


@dataclass(frozen=True)
class LeftRuns:
    """The runs that an earlier Airflow has left unfinished, as (DAG id, run id)."""

    ended: list[tuple[str, str]] = field(default_factory=list)  # with their processes; marked as failed
    waiting: list[tuple[str, str]] = field(default_factory=list)  # they had not begun, so nothing of them is lost


@dataclass(frozen=True)
class RunningAirflow:
    """An Airflow with all DAGs parsed, and what an earlier one has left."""

    api: AirflowApi
    parts: AirflowParts
    left: LeftRuns = field(default_factory=LeftRuns)


@contextmanager
def running_airflow(settings: Settings) -> Iterator[RunningAirflow]:
    """The Airflow that `make up` keeps running, else one that is stopped on leaving; the DAGs of a run may run."""
    kept = find_kept(settings)
    if kept is not None:
        say("using the Airflow that is already running")
        api, parts = kept
        for dag_id in FOLLOWED:
            api.unpause(dag_id)
        yield RunningAirflow(api, parts)
        return
    clear_leftovers(settings)
    say("starting Airflow")
    parts = prepare(settings)
    try:
        _tidy(parts)
        yield start(parts, unpaused=FOLLOWED)
    finally:
        parts.stop()


def start_and_keep(settings: Settings, *, port: int) -> str:
    """Start Airflow with its schedules and leave it running; returns its URL. Does nothing if it runs already."""
    kept = find_kept(settings)
    if kept is not None:
        return kept[1].url
    clear_leftovers(settings)
    say("starting Airflow")
    parts = prepare(settings, port=port, is_kept=True)
    try:
        _tidy(parts)
        start(parts, unpaused=DAGS)
        remember_kept(parts)
    except BaseException:
        parts.stop()
        raise
    return parts.url


def _tidy(parts: AirflowParts) -> None:
    """Once a week, before Airflow starts."""
    if is_due(parts.settings):
        for line in remove_old(parts.settings, parts.environment):
            say(line)


def clear_leftovers(settings: Settings) -> None:
    """Stop whatever a killed run has left running."""
    left_behind = stop_kept(settings)
    if left_behind:
        say(f"stopped {left_behind} processes that an earlier run had left behind")


def start(parts: AirflowParts, *, unpaused: Iterable[str], timeout_seconds: float = 240) -> RunningAirflow:
    """Start Airflow, and wait for its health and for freshly parsed DAGs, of which those of `unpaused` may run.

    The scheduler begins last: what is unfinished before it runs is nobody's, and until then nobody else writes into
    Airflow's database. A run that is overdue begins the moment it is there.
    """
    started_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    api = connect(parts)
    deadline = time.monotonic() + timeout_seconds

    def dags_are_parsed() -> bool:
        errors = api.list_import_errors()
        if errors:
            raise AirflowStartError("a DAG file cannot be imported:\n" + "\n".join(errors))
        dags = api.list_dags()
        return all((dags.get(dag_id, {}).get("last_parsed_time") or "") >= started_at for dag_id in DAGS)

    parts.start(API_SERVER, DAG_PROCESSOR)
    _wait(parts, deadline, "answering", lambda: parts.has_port() and api.is_healthy())
    api.sign_in()
    api.ensure_pool(POOL, 1)
    left = _close_left_runs(api)
    _wait(parts, deadline, "parsing the DAGs", dags_are_parsed)
    for dag_id in unpaused:
        api.unpause(dag_id)
    parts.release_scheduler()
    if parts.is_kept:
        # no task defers, but the page shows in red whatever part does not run
        parts.start(TRIGGERER)
        _wait(parts, deadline, "becoming healthy", lambda: api.is_healthy("scheduler", "dag_processor", "triggerer"))
    else:
        _wait(parts, deadline, "becoming healthy", lambda: api.is_healthy("scheduler", "dag_processor"))
    return RunningAirflow(api, parts, left)


def _close_left_runs(api: AirflowApi) -> LeftRuns:
    """Mark what had begun as failed, since its processes are gone, and pause the DAGs, so that nothing begins yet."""
    left = LeftRuns()
    known = api.list_dags()  # none in a new database
    if api.delete_dag(FORMER_PIPELINE):
        say(f"{FORMER_PIPELINE} is called {PIPELINE} now: removed from Airflow, with its runs")
    for dag_id in (each for each in DAGS if each in known):
        api.pause(dag_id)
        for run_id, state in api.list_unfinished_runs(dag_id):
            if state == "running":
                say(f"{dag_id}: run {run_id} had ended with its processes; marked as failed")
                api.fail_run(dag_id, run_id)
                left.ended.append((dag_id, run_id))
            else:
                left.waiting.append((dag_id, run_id))
    return left


def run_to_the_end(
    settings: Settings, *, when_ready: Callable[[], None] = lambda: None, timeout_seconds: float = 6 * 3600
) -> RunOutcome:
    """Trigger the pipeline, follow every run that it leads to, and stop Airflow again.

    `when_ready` is called when Airflow has started, before anything is triggered: to wait for what is being made
    meanwhile.

    Raises RunFailedError if a task fails, AirflowEndedError if a part of Airflow ends, RunTimeoutError after
    `timeout_seconds`.
    """
    with running_airflow(settings) as airflow:
        when_ready()
        waiting = [(dag_id, run_id) for dag_id, run_id in airflow.left.waiting if dag_id != FOLLOWUP]
        runs = [*waiting, (PIPELINE, airflow.api.trigger(PIPELINE))]
        if any(dag_id == RETRAINING for dag_id, _ in airflow.left.ended):
            # nothing else would begin it again: what led to it is published
            runs.append((RETRAINING, airflow.api.trigger(RETRAINING)))
        try:
            return _follow(airflow, runs, time.monotonic() + timeout_seconds)
        except AirflowApiError:
            # that a part has ended says more than that it does not answer
            airflow.parts.check()
            raise


def _follow(airflow: RunningAirflow, waiting: list[tuple[str, str]], deadline: float) -> RunOutcome:
    """Wait for the runs and for the runs that their asset events start, until there are none left."""
    api = airflow.api
    outcome = RunOutcome()
    followed = set(waiting)
    while waiting:
        dag_id, run_id = waiting.pop(0)
        say(f"{dag_id}: running")
        _watch(airflow, dag_id, run_id, deadline)
        for task in api.list_task_instances(dag_id, run_id):
            if task["state"] == "success":
                # a branch returns where to go on; why, it leaves beside that
                key = "reasons" if (dag_id, task["task_id"]) == (PIPELINE, "plan_build") else "return_value"
                result = api.get_result(dag_id, run_id, task["task_id"], key=key)
                outcome.results.append((dag_id, task["task_id"], result))
        while True:
            events = api.list_triggered_runs(dag_id, run_id)
            if all(events):
                break
            _pause(airflow.parts, deadline, f"the scheduler to start what {dag_id} leads to")
        for runs in events:
            for run in runs:
                if run not in followed:
                    followed.add(run)
                    waiting.append(run)
    return outcome


def _watch(airflow: RunningAirflow, dag_id: str, run_id: str, deadline: float) -> None:
    api = airflow.api
    states: dict[str, str | None] = {}
    while True:
        run_state = api.get_run(dag_id, run_id)["state"]
        tasks = sorted(api.list_task_instances(dag_id, run_id), key=lambda task: task["start_date"] or "9")
        for task in tasks:
            state = task["state"]
            if states.get(task["task_id"]) != state and state in {"running", "success", "failed", "up_for_retry"}:
                seconds = f" after {task['duration']:.1f} s" if task["duration"] and state != "running" else ""
                say(f"{dag_id}: {task['task_id']} {state}{seconds}")
            states[task["task_id"]] = state
        if run_state == "success":
            return
        if run_state == "failed":
            raise RunFailedError(_explain_failure(airflow, dag_id, run_id, tasks))
        _pause(airflow.parts, deadline, f"{dag_id} run {run_id}")


def _explain_failure(airflow: RunningAirflow, dag_id: str, run_id: str, tasks: list[dict[str, Any]]) -> str:
    failed = [task for task in tasks if task["state"] == "failed"]
    if not failed:
        return f"{dag_id} run {run_id} failed, though none of its tasks did: was it stopped by hand?"
    parts = []
    for task in failed:
        task_id, attempt = task["task_id"], task["try_number"]
        lines = explain_failure(airflow.api.read_log(dag_id, run_id, task_id, attempt))
        log = task_log_file(airflow.parts.settings, dag_id, run_id, task_id, attempt)
        parts.append(
            "\n".join(
                [
                    f"task {task_id} of {dag_id} failed (try {attempt}):",
                    *(f"  {line}" for line in lines),
                    f"  The whole log: {show_path(log)}",
                ]
            )
        )
    return "\n".join(parts)


def _wait(parts: AirflowParts, deadline: float, what: str, is_done: Callable[[], bool]) -> None:
    while not is_done():
        _pause(parts, deadline, f"Airflow {what}; its logs are in {parts.settings.home / 'logs'}")


def _pause(parts: AirflowParts, deadline: float, what: str) -> None:
    parts.check()
    if time.monotonic() > deadline:
        raise RunTimeoutError(f"gave up waiting for {what}")
    time.sleep(0.5)


_started = time.monotonic()


def say(text: str) -> None:
    """Print one line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _started:6.1f} s] {text}", file=sys.stderr, flush=True)
