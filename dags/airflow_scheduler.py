"""Airflow's scheduler, with what its tasks need imported: `python -m dags.airflow_scheduler [--held] [options]`.

The LocalExecutor forks each task from the scheduler's process, so what that has imported costs a task nothing. These
packages take longer to import than most tasks have to work: Great Expectations alone takes four seconds. The project's
own modules are not among them: they are imported quickly, and a task must run the code that is there when it starts.
Where tasks are not forked (macOS, the CeleryExecutor) nothing is imported ahead.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import sys

PACKAGES = (
    "airflow.jobs.scheduler_job_runner",
    "airflow.sdk.execution_time.task_runner",
    "great_expectations",
    "dbt.adapters.duckdb",
    "dbt.cli.main",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "skops.io",
    "slack_sdk",
)


def main() -> None:
    """Import, wait for the word if asked to, and become the scheduler.

    With `--held` it begins when a line comes on the standard input, and never if that is closed instead.
    """
    if multiprocessing.get_start_method() == "fork" and os.environ.get("AIRFLOW__CORE__EXECUTOR") == "LocalExecutor":
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        for name in PACKAGES:
            importlib.import_module(name)
    options = sys.argv[1:]
    if "--held" in options:
        options.remove("--held")
        if not sys.stdin.readline():
            return
    sys.argv = ["airflow", "scheduler", *options]
    from airflow.__main__ import main as run_airflow

    run_airflow()


if __name__ == "__main__":
    main()
