"""Run the SQL that dbt compiled, without dbt: what is left of the cost is the SQL's own."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

from warehouse.build import dbt_environment
from warehouse.connect import open_build
from warehouse.settings import Settings
from warehouse.transaction import begin


def run_compiled_models(settings: Settings) -> dict[str, float]:
    """Build every model but the scores from `dbt_target`, in dependency order; CPU seconds by stage.

    `to sessions` is one of the stages' sums: the models that `int_sessions` needs, itself included.
    """
    target = Path(dbt_environment(settings)["DBT_TARGET_PATH"])
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    models = {
        name: node
        for name, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and "scores" not in node["tags"]
    }
    kept = settings.build_path.with_name("compiled")
    shutil.copytree(target / "compiled", kept, dirs_exist_ok=True)
    begin(settings, run_id="by hand", full_rebuild=True)
    to_sessions = _ancestors(models, "model.funnelhouse.int_sessions")
    spent: dict[str, float] = {"to sessions": 0.0}
    with open_build(settings) as connection:
        seed = settings.dbt_project_dir / "seeds"
        for path in sorted(seed.glob("*.csv")):
            connection.execute(f"create table staging.{path.stem} as from read_csv('{path}')")
        for name in _in_order(models):
            node = models[name]
            sql = (kept / "funnelhouse" / node["original_file_path"]).read_text(encoding="utf-8")
            kind = "view" if node["config"]["materialized"] == "view" else "table"
            before = _cpu()
            connection.execute(f"create {kind} {node['schema']}.{node['name']} as {sql}")
            connection.execute("checkpoint")
            seconds = _cpu() - before
            stage = _stage(node)
            spent[stage] = spent.get(stage, 0.0) + seconds
            if name in to_sessions:
                spent["to sessions"] += seconds
    shutil.rmtree(kept)
    return spent


def _stage(node: dict[str, Any]) -> str:
    folder = Path(node["original_file_path"]).parent.name
    features = ("int_session_behaviour", "int_session_prefixes", "int_session_context")
    return "ml" if node["name"] in features else folder


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
