"""Every rule has its runbook, and every query in one runs on the tables as they are declared."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import yaml

from alerts.messages.facts import RUN_KINDS
from alerts.rules.loading import load_rules
from alerts.state import create_tables
from expectations.results import _CREATE as CREATE_RESULTS
from foundation.settings import PROJECT_DIR

RUNBOOKS = sorted((PROJECT_DIR / "docs" / "runbooks").glob("*.md"))
SECTIONS = ["What it means", "First five minutes", "Queries", "Who"]

# What the loading and the transaction write; they declare no columns in YAML.
OTHER_TABLES = """
create table ops.ingest_ledger (
    event_date date, table_name varchar, kind varchar, source_uri varchar, content_hash varchar, row_count bigint,
    loaded_at timestamp, unknown_columns varchar[], missing_columns varchar[], retyped_columns varchar[]
);
create table ml.model_versions (model varchar, version varchar, fitted_until date);
create table ops.build_info (run_id varchar, as_of timestamp, published_at timestamp);
create table ops.quarantined_files (
    file_name varchar, event_date varchar, row_number bigint, column_name varchar, reason varchar, what_to_do varchar,
    quarantined_at varchar, resolved_at varchar
);
create table ops.refused_models (model varchar, version varchar, reason varchar);
create table ml.session_predictions (
    session_id varchar, propensity_full_version varchar, propensity_precheckout_version varchar,
    segments_version varchar
);
"""


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """All published tables, empty, with the columns and types that the models' YAML declares."""
    with duckdb.connect() as connection:
        for schema in ("marts", "ml", "ops"):
            connection.execute(f"create schema {schema}")
        for path in sorted((PROJECT_DIR / "dbt_project" / "models").rglob("*.yml")):
            for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models") or []:
                columns = [c for c in model.get("columns") or [] if "data_type" in c]
                if columns:
                    schema = {"ml": "ml", "ops": "ops"}.get(path.parent.name, "marts")
                    shown = ", ".join(f"{column['name']} {column['data_type']}" for column in columns)
                    connection.execute(f"create table {schema}.{model['name']} ({shown})")
        connection.execute(OTHER_TABLES)
        with sqlite3.connect(":memory:") as state:
            state.row_factory = sqlite3.Row
            create_tables(state)
            state.execute(CREATE_RESULTS)
            for (name,) in state.execute("select name from sqlite_master where type = 'table'").fetchall():
                columns = [row["name"] for row in state.execute(f"pragma table_info({name})")]
                shown = ", ".join(f"{column} varchar" for column in columns)
                connection.execute(f"create table ops.{name} ({shown})")
        yield connection


def test_every_rule_and_every_kind_of_failed_run_has_its_runbook() -> None:
    names = {path.stem for path in RUNBOOKS}
    rules = load_rules(PROJECT_DIR / "alerts" / "rules.yml").rules
    assert {rule.runbook for rule in rules} == {f"docs/runbooks/{rule.name}.md" for rule in rules}
    assert names == {rule.name for rule in rules} | set(RUN_KINDS)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_says_what_where_and_who_and_its_queries_run(
    path: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == SECTIONS
    steps = re.findall(r"^\d+\. ", text.split("## First five minutes")[1].split("## Queries")[0], flags=re.MULTILINE)
    assert len(steps) >= 3 and "**Owner**" in text and "| finding | who |" in text
    queries = re.findall(r"```sql\n(.+?)```", text, flags=re.DOTALL)
    assert queries
    for query in queries:
        # As `make sql` hands it on: one line, in double quotes.
        assert not set('"$`') & set(query), query
        warehouse.execute(query)
    for other in re.findall(r"[Ss]ee `(\w+)`", text):
        assert (path.parent / f"{other}.md").exists(), other


def test_the_queries_for_analysts_run(warehouse: duckdb.DuckDBPyConnection) -> None:
    text = (PROJECT_DIR / "docs" / "analysts.md").read_text(encoding="utf-8")
    queries = re.findall(r"```sql\n(.+?)```", text, flags=re.DOTALL)
    assert len(queries) >= 4
    for query in queries:
        warehouse.execute(query)
