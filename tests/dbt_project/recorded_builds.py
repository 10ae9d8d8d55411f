"""Many builds of one project for the price of two: what dbt sent to DuckDB is recorded once and sent again.

Four fifths of a small build are dbt's own time (parsing, rendering, looking up columns), and a property needs hundreds
of builds. dbt sends the same statements to every full rebuild, and to every incremental build but for one list: the
days of the lake to read. The first build of each kind is a real one whose statements are noted; the next ones send
them again, with their own list of days. `check_recording` runs dbt once more and fails where that would not hold.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.connect import open_build
from foundation.settings import PROJECT_DIR, Settings
from warehouse.build import dbt_environment
from warehouse.fingerprint import dbt_vars
from warehouse.transaction import BuildPlan, begin, publish, record_built_partitions

# What changes nothing is not sent again: dbt's questions about the catalog, comments, transactions around a model.
_CHANGES_NOTHING = ("select", "with", "from", "describe", "show", "comment", "pragma", "begin", "commit", "rollback")
_COMMENTS = re.compile(r"^(\s+|/\*.*?\*/|--[^\n]*(\n|$))+", re.DOTALL)
_DAYS = "{the touched days}"


@dataclass(frozen=True)
class Statement:
    """One statement of a build, with what is bound to its question marks."""

    sql: str
    values: tuple[Any, ...] | None


class SettingsOfAnotherProject(Settings):
    """Settings whose dbt project lies elsewhere: a copy that something was changed in."""

    project: Path

    @property
    def dbt_project_dir(self) -> Path:
        """The dbt project."""
        return self.project


def copy_project(folder: Path) -> Path:
    """A copy of the dbt project in this folder, for a test that changes something in it."""
    project = folder / "dbt_project"
    shutil.copytree(PROJECT_DIR / "dbt_project", project, ignore=shutil.ignore_patterns("target"))
    return project


def make_recorded_settings(home: Path, *, project: Path | None = None) -> Settings:
    """Settings of a home with an `export` folder of its own, in Los Angeles; `project` is another dbt project."""
    values: dict[str, Any] = {"home": home, "source": str(home / "export"), "property_timezone": "America/Los_Angeles"}
    # the tables are tiny: a second thread would only wait
    values["duckdb_threads"] = 1
    return Settings(**values) if project is None else SettingsOfAnotherProject(**values, project=project)


class RecordedBuilds:
    """Builds and publishes the marts of one home. One at a time in a process: dbt reads paths from the environment."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.export = settings.home / "export"
        self.count = 0
        self._scripts: dict[tuple[bool, bool], list[Statement]] = {}
        self._manifest: Any = None

    def clear(self) -> None:
        """Begin with an empty export, lake and warehouse."""
        for folder in (self.export, self.settings.home / "lake", self.settings.quarantine_dir):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.settings.published_path, self.settings.state_path):
            file.unlink(missing_ok=True)
        self.export.mkdir(parents=True)

    def build(self, *, now: dt.datetime, full_rebuild: bool = False) -> BuildPlan:
        """One build of everything but the scores and the data tests, published."""
        self.count += 1
        run_id = f"run-{self.count}"
        plan = begin(self.settings, run_id=run_id, now=now, full_rebuild=full_rebuild)
        script = self._scripts.get(_kind_of(plan))
        if script is None:
            recorded = self._run_dbt()
            # without a touched day the list is empty, and its place in the statements cannot be seen
            if plan.is_full_rebuild or plan.touched_dates:
                self._scripts[_kind_of(plan)] = _exchange(recorded, _days_of(plan), _DAYS)
        else:
            self._send(script, plan)
        record_built_partitions(self.settings)
        publish(self.settings, run_id=run_id)
        return plan

    def check_recording(self, *, now: dt.datetime, full_rebuild: bool = False) -> None:
        """Build with dbt, and see that it sends what was recorded; the build is published like any other."""
        self.count += 1
        run_id = f"run-{self.count}"
        plan = begin(self.settings, run_id=run_id, now=now, full_rebuild=full_rebuild)
        # dbt takes models that do not depend on each other as they come, in an order that its threads decide
        sent = _sort(self._run_dbt())
        expected = _sort(_exchange(self._scripts[_kind_of(plan)], _DAYS, _days_of(plan)))
        assert sent == expected, (
            "a build sends statements that depend on more than the list of touched days: recorded builds cannot stand "
            f"for it. First difference: {_first_difference(expected, sent)}"
        )
        record_built_partitions(self.settings)
        publish(self.settings, run_id=run_id)

    def _run_dbt(self) -> list[Statement]:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        os.environ.update(dbt_environment(self.settings))
        quiet = ["--quiet", "--log-level", "none", "--log-level-file", "none", "--no-write-json"]
        variables = ["--vars", json.dumps(dbt_vars(self.settings), sort_keys=True)]
        if self._manifest is None:
            self._manifest = dbtRunner().invoke(["parse", *quiet, *variables]).result
        skipped = ["--exclude-resource-type", "unit_test", "--exclude-resource-type", "test", "--exclude", "tag:scores"]
        try:
            with _noting_statements() as noted:
                outcome = dbtRunner(manifest=self._manifest).invoke(["build", *skipped, *quiet, *variables])
        finally:
            DuckDBConnectionManager.close_all_connections()
        if not outcome.success:
            results = getattr(outcome.result, "results", None) or []
            failed = [f"{result.node.name}: {result.message}" for result in results if str(result.status) == "error"]
            raise RuntimeError(f"dbt failed: {outcome.exception or failed}")
        return [note for note in noted if not _is_read(note.sql)]

    def _send(self, script: Sequence[Statement], plan: BuildPlan) -> None:
        with open_build(self.settings) as connection:
            for statement in _exchange(script, _DAYS, _days_of(plan)):
                connection.execute(statement.sql, statement.values)


def _kind_of(plan: BuildPlan) -> tuple[bool, bool]:
    return plan.is_full_rebuild, plan.keeps_staging


def _days_of(plan: BuildPlan) -> str:
    """The list of days as the macro `touched_lake_days` writes it."""
    return ", ".join(f"'{day}'" for day in sorted(plan.touched_dates)) or "''"


def _is_read(sql: str) -> bool:
    return _COMMENTS.sub("", sql).lower().startswith(_CHANGES_NOTHING)


def _exchange(script: Sequence[Statement], old: str, new: str) -> list[Statement]:
    return [Statement(statement.sql.replace(old, new), statement.values) for statement in script]


def _sort(script: Sequence[Statement]) -> list[Statement]:
    return sorted(script, key=lambda statement: (statement.sql, repr(statement.values)))


def _first_difference(recorded: Sequence[Statement], sent: Sequence[Statement]) -> str:
    for ours, theirs in zip(recorded, sent, strict=False):
        if ours != theirs:
            return f"recorded {ours.sql[:2000]!r}, sent {theirs.sql[:2000]!r}"
    return f"{len(recorded)} recorded, {len(sent)} sent"


@contextmanager
def _noting_statements() -> Iterator[list[Statement]]:
    """Everything dbt's cursors execute meanwhile; they execute it all the same."""
    from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

    noted: list[Statement] = []
    execute = DuckDBCursorWrapper.execute

    def note_and_execute(self: Any, sql: str, bindings: Any = None) -> Any:
        result = execute(self, sql, bindings)
        noted.append(Statement(sql, None if bindings is None else tuple(bindings)))
        return result

    DuckDBCursorWrapper.execute = note_and_execute
    try:
        yield noted
    finally:
        DuckDBCursorWrapper.execute = execute
