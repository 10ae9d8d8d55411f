"""docs/own-airflow.md with somebody else's Airflow: our DAGs come beside theirs, and nothing of theirs changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from foundation.settings import PROJECT_DIR

OURS = {"ga4_pipeline", "model_retraining", "alert_followup"}
THEIR_DAG = """
import datetime as dt
from airflow.sdk import dag, task

@dag(schedule="@daily", start_date=dt.datetime(2024, 1, 1), catchup=False)
def their_report():
    @task
    def hello(): ...
    hello()

their_report()
"""
# one process for all commands: importing Airflow takes longer than any of them
_STEPS = """
import contextlib, io, json, os, sys
from airflow.__main__ import main
from airflow._shared.module_loading.file_discovery import find_path_from_directory

def airflow(*arguments):
    sys.argv = ["airflow", *arguments]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main()
    return out.getvalue()

project = sys.argv[1]
airflow("db", "migrate")
airflow("pools", "set", "their_pool", "3", "theirs")
with open("their.json", "w") as file:
    json.dump({name: open(name).read() for name in ("airflow.cfg", "dags/theirs.py")}, file)
os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = sys.stdin.readline()
airflow("dags", "reserialize")
airflow(*json.loads(sys.stdin.readline()))
found = {
    "dags": airflow("dags", "list", "--output", "json"),
    "errors": airflow("dags", "list-import-errors", "--output", "json"),
    "pools": airflow("pools", "list", "--output", "json"),
    "files": json.dumps([{"path": path} for path in find_path_from_directory(project, ".airflowignore")]),
}
print("FOUND" + json.dumps(found))
"""


@dataclass(frozen=True)
class Recipe:
    """The lines of docs/own-airflow.md that are tried here."""

    bundles: str
    pool: list[str]


def read_recipe() -> Recipe:
    page = (PROJECT_DIR / "docs" / "own-airflow.md").read_text(encoding="utf-8")
    (bundles,) = re.findall(r"^AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST='(.+?)'$", page, re.MULTILINE | re.DOTALL)
    (pool,) = re.findall(r'^airflow (pools set \w+ \d+) "(.+)"$', page, re.MULTILINE)
    return Recipe(bundles=bundles, pool=[*pool[0].split(), pool[1]])


def read_table(text: str) -> list[dict[str, Any]]:
    """The rows that `airflow … --output json` prints, after whatever it warns of; none for "No data found"."""
    found = re.search(r"^\[.*\]$", text, flags=re.MULTILINE)
    return list(json.loads(found[0])) if found else []


@pytest.fixture(scope="module")
def their_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("their_airflow")
    (home / "dags").mkdir()
    (home / "dags" / "theirs.py").write_text(THEIR_DAG, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def found(their_home: Path) -> dict[str, list[dict[str, Any]]]:
    """What their Airflow lists after the recipe; it knows nothing of the project but what the recipe says."""
    recipe = read_recipe()
    bundles = json.loads(recipe.bundles)
    (ours,) = [bundle for bundle in bundles if bundle["name"] == "funnelhouse"]
    assert ours["kwargs"] == {"path": "/opt/funnelhouse"}
    ours["kwargs"]["path"] = str(PROJECT_DIR)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    outcome = subprocess.run(
        [sys.executable, "-c", _STEPS, str(PROJECT_DIR)],
        cwd=their_home,
        input=f"{json.dumps(bundles)}\n{json.dumps(recipe.pool)}\n",
        env={**kept, "AIRFLOW_HOME": str(their_home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    line = next(line for line in outcome.stdout.splitlines() if line.startswith("FOUND"))
    return {name: read_table(text) for name, text in json.loads(line.removeprefix("FOUND")).items()}


def test_our_dags_are_listed_beside_theirs(found: dict[str, list[dict[str, Any]]]) -> None:
    assert found["errors"] == []
    bundle_of = {dag["dag_id"]: dag["bundle_name"] for dag in found["dags"]}
    assert bundle_of == {"their_report": "dags-folder", **dict.fromkeys(OURS, "funnelhouse")}


def test_the_pool_is_made_and_theirs_stays(found: dict[str, list[dict[str, Any]]]) -> None:
    common = (PROJECT_DIR / "dags" / "common.py").read_text(encoding="utf-8")
    (name,) = re.findall(r'WAREHOUSE_POOL = "(\w+)"', common)
    slots = {pool["pool"]: int(pool["slots"]) for pool in found["pools"]}
    assert (slots[name], slots["their_pool"]) == (1, 3)


def test_their_files_are_as_they_were(found: dict[str, list[dict[str, Any]]], their_home: Path) -> None:
    for name, text in json.loads((their_home / "their.json").read_text(encoding="utf-8")).items():
        assert (their_home / name).read_text(encoding="utf-8") == text, name
    assert [path.name for path in (their_home / "dags").glob("*.py")] == ["theirs.py"]


def test_airflow_looks_for_dags_in_our_dags_folder_only(found: dict[str, list[dict[str, Any]]]) -> None:
    # in the project's folder lie the data, the tests and .venv, too
    looked_at = {Path(row["path"]).relative_to(PROJECT_DIR).parts[0] for row in found["files"]}
    assert looked_at == {"dags"}
