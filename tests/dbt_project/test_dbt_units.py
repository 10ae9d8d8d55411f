"""dbt's own unit tests: given rows, expected rows, beside the models."""

from __future__ import annotations

import os
import subprocess
import sys

from foundation.settings import Settings
from tests.lake_writer import write_day
from warehouse.build import build_marts, dbt_environment


def test_dbt_unit_tests_pass(settings: Settings) -> None:
    write_day(settings, "2026-08-01", [])
    build_marts(settings, run_id="units")
    outcome = subprocess.run(
        [sys.executable, "-c", "from dbt.cli.main import cli; cli()", "test", "--select", "test_type:unit"],
        env={
            **os.environ,
            **dbt_environment(settings),
            "DBT_LOG_LEVEL": "info",
            "PYTHONUTF8": "1",
        },
        cwd=settings.dbt_project_dir,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout
    assert "Done. PASS=" in outcome.stdout
    assert "PASS=0" not in outcome.stdout
