"""The few calls of Airflow's REST API that a run needs."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import requests

from foundation.errors import FunnelhouseError

PAGE = 200
ATTEMPTS = 6
LONGEST_PAUSE_SECONDS = 8
SIGN_IN = "/auth/token"


class AirflowApiError(FunnelhouseError):
    """Airflow's API server did not answer, or refused."""


class AirflowApi:
    """A client of one API server. Every call has a timeout; an answer other than 2xx raises `AirflowApiError`."""

    def __init__(self, url: str, *, username: str, password: str, is_ours: Callable[[], bool] = lambda: True) -> None:
        """`is_ours` says whether it is still our own server that answers there: else the password is not sent."""
        self._url = url
        self._is_ours = is_ours
        self._credentials = {"username": username, "password": password}
        self._session = requests.Session()

    def is_healthy(self, *parts: str) -> bool:
        """Whether the API server answers and says the same of these parts."""
        try:
            answer = self._session.get(f"{self._url}/api/v2/monitor/health", timeout=5)
        except requests.RequestException:
            return False
        if answer.status_code != 200:
            return False
        health = answer.json()
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", *parts))

    def sign_in(self) -> None:
        """Fetch a token for the following calls; to a server that is not ours nothing is sent (AirflowApiError)."""
        if not self._is_ours():
            raise AirflowApiError(
                f"what answers at {self._url} is not the Airflow of this home: nothing was sent to it"
            )
        answer = self._send("post", SIGN_IN, json=self._credentials)
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def list_dags(self) -> dict[str, dict[str, Any]]:
        """The DAGs that Airflow knows, by id."""
        return {dag["dag_id"]: dag for dag in self._call("get", "/dags", params={"limit": PAGE})["dags"]}

    def list_import_errors(self) -> list[str]:
        """What went wrong where a DAG file could not be imported."""
        errors = self._call("get", "/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace']}" for error in errors]

    def ensure_pool(self, name: str, slots: int) -> None:
        """Create the pool, or set its size; a task of a pool that does not exist waits for ever."""
        settings = {"slots": slots, "description": "Tasks that write, one at a time.", "include_deferred": False}
        answer = self._send("post", "/api/v2/pools", json={"name": name, **settings}, expected=(409,))
        if answer.status_code == 409:
            self._call("patch", f"/pools/{quote(name)}", json={"pool": name, **settings})

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self._call("patch", f"/dags/{quote(dag_id)}", json={"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Keep the scheduler from starting new runs of the DAG."""
        self._call("patch", f"/dags/{quote(dag_id)}", json={"is_paused": True})

    def delete_dag(self, dag_id: str) -> bool:
        """Forget a DAG whose file is gone, with its runs; False where there is none of that name."""
        return self._send("delete", f"/api/v2/dags/{quote(dag_id)}", expected=(404,)).status_code != 404

    def trigger(self, dag_id: str) -> str:
        """Start a run now; returns its id."""
        # with an id of ours a second attempt starts no second run
        run_id = f"manual__{dt.datetime.now(dt.UTC).isoformat()}"
        wanted = {"logical_date": None, "dag_run_id": run_id}
        self._send("post", f"/api/v2/dags/{quote(dag_id)}/dagRuns", json=wanted, expected=(409,))
        return run_id

    def get_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        return self._call("get", _run_path(dag_id, run_id))

    def list_unfinished_runs(self, dag_id: str) -> list[tuple[str, str]]:
        """Id and state of the runs that are queued or running."""
        runs = self._call(
            "get", f"/dags/{quote(dag_id)}/dagRuns", params={"state": ["queued", "running"], "limit": PAGE}
        )
        return [(run["dag_run_id"], run["state"]) for run in runs["dag_runs"]]

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed: its processes are gone."""
        self._call("patch", _run_path(dag_id, run_id), json={"state": "failed"})

    def list_task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        return list(self._call("get", path, params={"limit": PAGE})["task_instances"])

    def get_result(self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value") -> Any:
        """What a task returned, or left under another key; None where it left nothing."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        answer = self._send("get", f"/api/v2{path}", params={"deserialize": "false"}, expected=(404,))
        return None if answer.status_code == 404 else answer.json()["value"]

    def list_triggered_runs(self, dag_id: str, run_id: str) -> list[list[tuple[str, str]]]:
        """The runs that each asset event of this run started, as (DAG id, run id)."""
        answer = self._call(
            "get", "/assets/events", params={"source_dag_id": dag_id, "source_run_id": run_id, "limit": PAGE}
        )
        return [
            [(run["dag_id"], run["run_id"]) for run in event["created_dagruns"]] for event in answer["asset_events"]
        ]

    def read_log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        """The log of one try of a task: entries with an `event` and, of an exception, an `error_detail`."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        content = self._call("get", path, params={"full_content": "true"}).get("content", [])
        if isinstance(content, str):
            content = content.splitlines()
        return [entry if isinstance(entry, dict) else {"event": entry} for entry in content]

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return dict(self._send(method, f"/api/v2{path}", **options).json())

    def _send(self, method: str, path: str, *, expected: tuple[int, ...] = (), **options: Any) -> requests.Response:
        """The answer to a request; signed in anew where the token is old.

        Tried again, in a rhythm that outlasts SQLite's locks, where the server is not there or fails: each call can be
        made twice.
        """
        for attempt in range(ATTEMPTS):
            is_last = attempt == ATTEMPTS - 1
            try:
                answer = self._session.request(method, f"{self._url}{path}", timeout=60, **options)
            except requests.ConnectionError as error:
                if is_last:
                    raise AirflowApiError(f"Airflow at {self._url} does not answer: {error}") from error
            except requests.RequestException as error:
                raise AirflowApiError(f"Airflow at {self._url} gave no answer for {path}: {error}") from error
            else:
                if answer.status_code == 401 and attempt == 0 and path != SIGN_IN:
                    self.sign_in()
                    continue
                if answer.ok or answer.status_code in expected:
                    return answer
                if answer.status_code < 500 or is_last:
                    raise AirflowApiError(
                        f"Airflow at {self._url} refuses {path} with HTTP {answer.status_code}: {answer.text[:500]}"
                    )
            time.sleep(min(2**attempt, LONGEST_PAUSE_SECONDS))
        raise AssertionError("the last attempt returns or raises")


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
