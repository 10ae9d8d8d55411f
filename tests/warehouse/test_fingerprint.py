"""What is kept of a published warehouse when its SQL changes: staging, and never a stale row of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foundation.settings import PROJECT_DIR, Settings
from tests.dbt_project.recorded_builds import SettingsOfAnotherProject, copy_project
from tests.dbt_runner import build_and_publish, query, snapshot
from tests.lake_writer import make_event, remove_day, write_day
from warehouse.build import dbt_environment
from warehouse.fingerprint import dbt_vars, project_fingerprint, staging_fingerprint, staging_texts
from warehouse.transaction import plan_build

PROJECT = PROJECT_DIR / "dbt_project"


@pytest.fixture
def copied(tmp_path: Path) -> SettingsOfAnotherProject:
    """Settings over a copy of the dbt project, to be changed."""
    project = copy_project(tmp_path)
    return SettingsOfAnotherProject(home=tmp_path / "home", property_timezone="UTC", project=project)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The project as dbt has parsed it, which knows what each model and macro depends on."""
    from dbt.cli.main import dbtRunner

    settings = Settings(home=tmp_path_factory.mktemp("parsed"), property_timezone="UTC")
    before = dict(os.environ)
    os.environ.update(dbt_environment(settings))
    try:
        parsed = dbtRunner().invoke(["parse", "--vars", json.dumps(dbt_vars(settings), sort_keys=True)])
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert parsed.success, parsed.exception
    return parsed.result


def list_what_dbt_knows(manifest: Any) -> set[tuple[str, str]]:
    """File and name of each model, seed and macro of the project that staging depends on, by dbt's own graph."""
    waiting = [key for key, node in manifest.nodes.items() if node.resource_type == "model" and "staging" in node.fqn]
    assert len(waiting) == 6
    waiting += ["macro.funnelhouse.generate_schema_name"]
    waiting += [f"macro.funnelhouse.materialization_{kind}_duckdb" for kind in ("view", "table", "incremental")]
    found = set()
    while waiting:
        key = waiting.pop()
        node = manifest.nodes.get(key) or manifest.macros.get(key)
        if node is None or node.package_name != "funnelhouse" or key in found:
            continue
        found.add(key)
        waiting += [*node.depends_on.macros, *getattr(node.depends_on, "nodes", [])]
    nodes = [manifest.nodes.get(key) or manifest.macros[key] for key in found]
    return {(node.original_file_path, node.name) for node in nodes}


def change(text: str, name: str, file: str) -> str:
    """The file's text with one thing in it changed: a macro by its name, anything else as a whole."""
    if not file.startswith("macros/"):
        return text + "\n-- changed"
    called = re.sub(r"^materialization_(\w+)_duckdb$", r"\1", name)
    changed, count = re.subn(rf"((?:macro|materialization) {called}\b[^%]*%}})", r"\1 {# changed #}", text)
    assert count == 1, (name, file)
    return changed


def test_whatever_staging_depends_on_changes_its_fingerprint(copied: SettingsOfAnotherProject, manifest: Any) -> None:
    before = staging_fingerprint(copied)
    known = list_what_dbt_knows(manifest)
    assert len(known) > 35
    for file, name in sorted(known):
        path = copied.project / file
        text = path.read_text(encoding="utf-8")
        path.write_text(change(text, name, file), encoding="utf-8")
        assert staging_fingerprint(copied) != before, f"a change of {name} in {file} goes unnoticed"
        path.write_text(text, encoding="utf-8")
    assert staging_fingerprint(copied) == before


def test_what_only_marts_are_made_from_leaves_it(copied: SettingsOfAnotherProject) -> None:
    staging, project = staging_fingerprint(copied), project_fingerprint(copied)
    files = [
        path for room in ("intermediate", "marts", "ml", "ops") for path in (PROJECT / "models" / room).rglob("*.sql")
    ]
    assert len(files) > 40
    for path in files:
        ours = copied.project / path.relative_to(PROJECT)
        text = ours.read_text(encoding="utf-8")
        ours.write_text(text + "\n-- changed", encoding="utf-8")
        assert staging_fingerprint(copied) == staging, path
        assert project_fingerprint(copied) != project, path
        ours.write_text(text, encoding="utf-8")
    # most macros are not staging's either
    assert len(staging_texts(PROJECT)) < len(list((PROJECT / "macros").rglob("*.sql"))) * 5


@pytest.mark.parametrize(
    ("setting", "value", "is_stagings"),
    [
        ("release_parameter", "build", True),
        ("excluded_hostnames", "localhost", True),
        ("property_timezone", "Europe/Berlin", False),
        ("attribution_lookback_days", 7, False),
        ("complete_after_hours", 24, False),
        ("longest_session_gap_minutes", 60, False),
        ("count_in_app_purchases", False, False),
    ],
)
def test_a_setting_counts_where_it_is_read(settings: Settings, setting: str, value: object, is_stagings: bool) -> None:
    changed = settings.model_copy(update={setting: value})
    assert project_fingerprint(changed) != project_fingerprint(settings)
    assert (staging_fingerprint(changed) != staging_fingerprint(settings)) == is_stagings


def test_a_renamed_or_a_new_macro_of_another_engine_counts(copied: SettingsOfAnotherProject) -> None:
    before = staging_fingerprint(copied)
    macros = copied.project / "macros" / "engine" / "other.sql"
    macros.write_text("{% macro unheard_of() -%} 1 {%- endmacro %}", encoding="utf-8")
    assert staging_fingerprint(copied) == before
    macros.write_text("{% macro spark__trimmed(text) -%} trim({{ text }}) {%- endmacro %}", encoding="utf-8")
    assert staging_fingerprint(copied) != before


def fill(settings: Settings, date: str, *, users: int = 2, page: str = "/") -> None:
    """A day on which each user views two pages and fills a cart."""
    place = f"https://shop.example{page}"
    write_day(
        settings,
        date,
        [
            make_event(name, f"{date}T10:0{minute}:00", user=f"u{user}", params={"page_location": place})
            for user in range(users)
            for minute, name in enumerate(("page_view", "view_item", "add_to_cart"))
        ],
    )


def test_marts_made_anew_over_staging_as_it_stands_are_those_of_an_empty_file(
    copied: SettingsOfAnotherProject,
) -> None:
    for date in ("2026-08-01", "2026-08-02", "2026-08-03"):
        fill(copied, date)
    build_and_publish(copied)
    assert plan_build(copied).reasons == []
    # the marts' SQL changes while days come, go and change
    kpis = copied.project / "macros" / "project" / "kpis.sql"
    kpis.write_text(kpis.read_text(encoding="utf-8") + "\n{# changed #}\n", encoding="utf-8")
    fill(copied, "2026-08-02", users=3, page="/sale")
    fill(copied, "2026-08-04")
    remove_day(copied, "2026-08-01")
    plan = plan_build(copied)
    assert (plan.is_full_rebuild, plan.keeps_staging) == (True, True)
    assert plan.touched_dates == ["2026-08-01", "2026-08-02", "2026-08-04"]
    assert plan.reasons == ["the SQL or a setting behind the marts has changed"]
    assert build_and_publish(copied).plan == plan
    kept = snapshot(copied)
    assert plan_build(copied).reasons == []
    build_and_publish(copied, full_rebuild=True)
    anew = snapshot(copied)
    assert set(kept) == set(anew) and len(kept) > 30
    assert [table for table in anew if kept[table] != anew[table]] == []
    assert query(copied, "select sum(sessions) from marts.agg_kpis_daily") == [(7,)]


def test_staging_is_read_again_only_when_it_has_changed(copied: SettingsOfAnotherProject) -> None:
    fill(copied, "2026-08-01")
    build_and_publish(copied)
    assert query(copied, "select distinct page_path from marts.fct_events") == [("/",)]
    # the lake has another day now that no content hash tells: whoever reads it again shows it
    fill(copied, "2026-08-01", page="/reread")
    unchanged = query(copied, "select content_hash from ops.built_partitions")[0][0]
    manifest = copied.lake_dir / "event_date=2026-08-01" / "_manifest.json"
    values = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**values, "content_hash": unchanged}), encoding="utf-8")
    marts = copied.project / "models" / "marts" / "core" / "fct_purchases.sql"
    marts.write_text(marts.read_text(encoding="utf-8") + "\n-- changed\n", encoding="utf-8")
    build_and_publish(copied)
    assert query(copied, "select distinct page_path from marts.fct_events") == [("/",)]
    params = copied.project / "macros" / "engine" / "params.sql"
    params.write_text(change(params.read_text(encoding="utf-8"), "param_text", "macros/"), encoding="utf-8")
    plan = plan_build(copied)
    assert (plan.is_full_rebuild, plan.keeps_staging) == (True, False)
    build_and_publish(copied)
    assert query(copied, "select distinct page_path from marts.fct_events") == [("/reread",)]


def test_a_project_that_was_parsed_ahead_is_not_parsed_again(settings: Settings) -> None:
    notes = settings.build_path.parent / "dbt_target" / "perf_info.json"
    environment = {**os.environ, "FUNNELHOUSE_HOME": str(settings.home), "FUNNELHOUSE_ENV_FILE": os.devnull}
    parsed = []
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "warehouse", "parse"], cwd=PROJECT_DIR, env=environment, check=True)
        parsed.append(json.loads(notes.read_text(encoding="utf-8"))["parsed_path_count"])
    assert parsed[0] > 100 and parsed[1] == 0
