"""Builds test warehouses with the real dbt project."""

from __future__ import annotations

import datetime as dt
from typing import Any

from foundation.connect import open_published
from foundation.settings import Settings
from warehouse.build import BuildReport, build_marts
from warehouse.transaction import publish

_count = 0


def build_and_publish(settings: Settings, *, full_rebuild: bool = False) -> BuildReport:
    """One run of the marts, published."""
    global _count
    _count += 1
    run_id = f"test-{_count}"
    report = build_marts(settings, run_id=run_id, full_rebuild=full_rebuild)
    assert publish(settings, run_id=run_id)
    return report


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """Rows from the published warehouse."""
    with open_published(settings) as connection:
        return connection.execute(sql).fetchall()


def snapshot(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table the build makes, sorted; without what names the build itself."""
    with open_published(settings) as connection:
        tables = connection.execute(
            """
            select table_schema, table_name from information_schema.tables
            where table_schema in ('staging', 'intermediate', 'marts', 'ml')
                and (table_type = 'BASE TABLE' or table_schema = 'ml') and table_name not like 'int_touched%'
            order by 1, 2
            """
        ).fetchall()
        return {
            f"{schema}.{table}": sorted(
                tuple(map(str, row)) for row in connection.execute(f"select * from {schema}.{table}").fetchall()
            )
            for schema, table in tables
        }


def days_ago(days: int) -> str:
    """A date that many days before today, YYYY-MM-DD, UTC."""
    return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days)).isoformat()
