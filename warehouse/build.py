"""Run dbt over the build file, one invocation per stage."""

from __future__ import annotations

import glob
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from foundation.connect import open_build
from foundation.errors import FunnelhouseError
from foundation.quoting import quote_text
from foundation.settings import Settings
from warehouse.fingerprint import dbt_vars
from warehouse.flat import FLAT_FOLDER
from warehouse.transaction import BuildPlan, begin, record_built_partitions

logger = logging.getLogger(__name__)

Stage = Literal["marts", "scores"]
SHOWN_FAILURES = 5  # of a data test


@dataclass(frozen=True)
class NodeResult:
    """How one dbt node ended."""

    name: str
    status: str
    seconds: float
    message: str


@dataclass(frozen=True)
class BuildReport:
    """How one dbt stage ended, and what the build touched."""

    stage: Stage
    plan: BuildPlan | None
    nodes: list[NodeResult]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom and logs."""
        return asdict(self)


class BuildFailedError(FunnelhouseError):
    """A dbt model or test failed; the message names each."""


def build_marts(settings: Settings, *, run_id: str, full_rebuild: bool = False) -> BuildReport:
    """Begin a build and run every model but the scores in it. Safe to repeat: each call starts afresh."""
    plan = begin(settings, run_id=run_id, full_rebuild=full_rebuild)
    nodes = run_dbt(settings, marts_arguments(plan))
    record_built_partitions(settings)
    return BuildReport("marts", plan, nodes)


def marts_arguments(plan: BuildPlan) -> list[str]:
    """How dbt is asked for the marts of this plan."""
    arguments = ["build", "--exclude-resource-type", "unit_test", "--exclude", "tag:scores"]
    if not plan.is_full_rebuild and not plan.rebuilds_custom:
        # What nothing but the project makes stands in the published file; staging's views have the lake's place in
        # them, and a home may move. Tests run all the same, but those of the scores, which have to be named then.
        views = [f"config.materialized:view,path:models/{folder}" for folder in ("intermediate", "marts", "ml")]
        arguments += ["tag:scores+", *views, "resource_type:seed", "--indirect-selection", "empty"]
    return arguments


def build_scores(settings: Settings) -> BuildReport:
    """Run the models that read the predictions of the scoring task."""
    return BuildReport(
        "scores", None, run_dbt(settings, ["build", "--exclude-resource-type", "unit_test", "--select", "tag:scores"])
    )


def parse_project(settings: Settings) -> None:
    """Let dbt keep what it reads of the project where the next build of this home looks for it."""
    run_dbt(settings, ["parse"])


def write_docs(settings: Settings) -> Path:
    """Write dbt's documentation of the published tables as one offline HTML file; returns its path."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    target = settings.docs_dir / "dbt"
    # which the profile opens read-only: the published file keeps its readers
    os.environ.update(
        dbt_environment(settings)
        | {
            "FUNNELHOUSE_BUILD_PATH": str(settings.published_path),
            "DBT_TARGET_PATH": str(target),
            "DBT_WRITE_JSON": "true",
        }
    )
    try:
        outcome = dbtRunner().invoke(["docs", "generate", "--static"])
    finally:
        DuckDBConnectionManager.close_all_connections()
    if not outcome.success:
        raise BuildFailedError(f"dbt could not write its documentation: {outcome.exception}")
    return target / "static_index.html"


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Environment variables through which the dbt profile and sources learn paths and limits."""
    environment = {
        "FUNNELHOUSE_BUILD_PATH": str(settings.build_path),
        "FUNNELHOUSE_BUILD_TEMP": str(settings.build_path.parent / "duckdb_temp"),
        "FUNNELHOUSE_LAKE_FILES": _lake_files(settings),
        "FUNNELHOUSE_PROPERTY_TIMEZONE": settings.property_timezone,
        "DBT_TARGET_PATH": str(settings.build_path.parent / "dbt_target"),
        "DBT_LOG_PATH": str(settings.home / "logs" / "dbt"),
        "DBT_PROFILES_DIR": str(settings.dbt_project_dir),
        "DBT_PROJECT_DIR": str(settings.dbt_project_dir),
        "DO_NOT_TRACK": "1",
    }
    # dbt's own files and logs are a fifth of what a small build costs, and nobody here reads them
    quiet = {"DBT_WRITE_JSON": "false", "DBT_LOG_LEVEL": "none", "DBT_LOG_LEVEL_FILE": "none"}
    environment |= {name: os.environ.get(name, value) for name, value in quiet.items()}
    environment["FUNNELHOUSE_BUILD_THREADS"] = str(settings.duckdb_threads or os.cpu_count() or 1)
    if settings.duckdb_memory_limit:
        environment["FUNNELHOUSE_BUILD_MEMORY_LIMIT"] = settings.duckdb_memory_limit
    return environment


def _lake_files(settings: Settings) -> str:
    """The lake's flat files as SQL text, whatever characters its path has; dbt fills in braces, which are doubled."""
    pattern = glob.escape(str(settings.lake_dir)) + f"/event_date=*/{FLAT_FOLDER}/*.parquet"
    return quote_text(pattern).replace("{", "{{").replace("}", "}}")


def run_dbt(settings: Settings, arguments: list[str]) -> list[NodeResult]:
    """Run a dbt command over the build file; how its nodes ended.

    Raises BuildFailedError where a model or a test failed, with what was wrong with the rows.
    """
    # dbt takes seconds to import: only the process that builds pays for it
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    os.environ.update(dbt_environment(settings))
    try:
        # nothing here may differ from run to run, or dbt parses the whole project anew
        outcome = dbtRunner().invoke([*arguments, "--vars", json.dumps(dbt_vars(settings), sort_keys=True)])
    finally:
        # dbt keeps the file locked after it returns, and nobody else could open the build
        DuckDBConnectionManager.close_all_connections()
    results = getattr(outcome.result, "results", None) or []
    nodes = [
        NodeResult(result.node.name, str(result.status), round(result.execution_time, 3), result.message or "")
        for result in results
    ]
    for node in nodes:
        logger.info("%-60s %-8s %8.2f s  %s", node.name, node.status, node.seconds, node.message)
    if not outcome.success:
        if outcome.exception is not None:
            raise BuildFailedError(f"dbt could not run: {outcome.exception}") from outcome.exception
        failed = [
            f"{result.node.name}: {result.message}"
            + (_explain(settings, result.node) if result.status == "fail" else "")
            for result in results
            if result.status in {"error", "fail"}
        ]
        raise BuildFailedError("dbt failed at\n" + "\n".join(failed))
    return nodes


def _explain(settings: Settings, test: Any) -> str:
    """What the first rows say that a data test found, which dbt only counts."""
    with open_build(settings, read_only=True) as connection:
        rows = connection.execute(f"select distinct * from ({test.compiled_code}) limit {SHOWN_FAILURES}").fetchall()
    return "".join("\n  " + ", ".join(str(value) for value in row) for row in rows)
