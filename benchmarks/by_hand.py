"""Run the SQL that dbt compiled, without dbt: what is left of the cost is the SQL's own."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

from foundation.connect import open_build
from foundation.settings import Settings
from warehouse.build import dbt_environment
from warehouse.fingerprint import dbt_vars
from warehouse.transaction import begin

FEATURES = (
    "int_session_context",
    "int_session_entries",
    "int_session_points",
)


def compile_models(settings: Settings) -> None:
    """Begin a full build and write the SQL of every model but the scores, without running it."""
    # what is measured is a process that runs the SQL alone, and pays for no import of dbt
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    begin(settings, run_id="compile", full_rebuild=True)
    os.environ.update(dbt_environment(settings) | {"DBT_WRITE_JSON": "true"})
    variables = ["--vars", json.dumps(dbt_vars(settings), sort_keys=True)]
    try:
        # the seeds first: some SQL is written from what they hold
        for arguments in (["seed"], ["compile", "--exclude", "tag:scores"]):
            outcome = dbtRunner().invoke([*arguments, *variables])
            if not outcome.success:
                raise RuntimeError(f"dbt {arguments[0]} failed: {outcome.exception}")
    finally:
        DuckDBConnectionManager.close_all_connections()


def run_compiled_models(settings: Settings) -> tuple[dict[str, float], dict[str, float]]:
    """Build what `compile_models` wrote, in dependency order; CPU seconds by stage, and by model.

    The stage `to sessions` is one of the others' sums: the models that `int_sessions` needs, itself included.
    """
    target = Path(dbt_environment(settings)["DBT_TARGET_PATH"])
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    models = {
        name: node
        for name, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and "scores" not in node["tags"]
    }
    begin(settings, run_id="by hand", full_rebuild=True)
    to_sessions = _ancestors(models, "model.funnelhouse.int_sessions")
    stages: dict[str, float] = {"to sessions": 0.0}
    spent: dict[str, float] = {}
    with open_build(settings) as connection:
        seed = settings.dbt_project_dir / "seeds"
        for path in sorted(seed.glob("*.csv")):
            connection.execute(f"create table staging.{path.stem} as from read_csv('{path}')")
        for name in _in_order(models):
            node = models[name]
            sql = (target / "compiled" / "funnelhouse" / node["original_file_path"]).read_text(encoding="utf-8")
            kind = "view" if node["config"]["materialized"] == "view" else "table"
            before = _cpu()
            connection.execute(f"create {kind} {node['schema']}.{node['name']} as {sql}")
            connection.execute("checkpoint")
            spent[node["name"]] = _cpu() - before
            stage = _stage(node)
            stages[stage] = stages.get(stage, 0.0) + spent[node["name"]]
            if name in to_sessions:
                stages["to sessions"] += spent[node["name"]]
    return stages, spent


def _stage(node: dict[str, Any]) -> str:
    folder = Path(node["original_file_path"]).parent.name
    return "ml" if node["name"] in FEATURES else folder


def _in_order(models: dict[str, Any]) -> list[str]:
    ordered: list[str] = []
    while len(ordered) < len(models):
        ready = [
            name
            for name, node in models.items()
            if name not in ordered and all(parent in ordered for parent in _parents(models, node))
        ]
        ordered.extend(ready)
    return ordered


def _parents(models: dict[str, Any], node: dict[str, Any]) -> list[str]:
    return [parent for parent in node["depends_on"]["nodes"] if parent in models]


def _ancestors(models: dict[str, Any], name: str) -> set[str]:
    found = {name}
    for parent in _parents(models, models[name]):
        found |= _ancestors(models, parent)
    return found


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
