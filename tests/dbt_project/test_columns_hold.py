"""Data tests on tables small enough to see every fault: all are found, and told in words."""

from __future__ import annotations

import duckdb
import pytest

from foundation.settings import Settings
from warehouse.build import BuildFailedError, run_dbt

# Of each table only what its test reads. One good row comes first.
TABLES = """
    create schema ops; create schema marts; create schema intermediate;
    create table ops.rebuilt_tables (table_name varchar);
    create table ops.build_info as select {is_full_rebuild} as is_full_rebuild, null::timestamp as published_at;

    create table marts.fct_sessions as select 's1' as session_id;
    create table marts.fct_purchases as from (values
        ('p1', 10.0, 's1', 'user'),
        ('p2', 10.0, 's1', 'user'), ('p2', 10.0, 's1', 'user'),
        ('p3', null, 's1', 'user'),
        ('p4', -1.0, 's1', 'user'),
        ('p5', 10.0, 's9', 'user'),
        ('p6', 10.0, null, 'user'),
        ('p7', 10.0, 's1', null)
    ) as purchases (purchase_id, revenue_usd, session_id, user_key);

    create table marts.agg_funnel_daily as from (values
        (date '2026-09-01', 'mobile', 'Direct', 'Direct', 1, 0.5),
        (date '2026-09-02', 'mobile', 'Direct', 'Direct', 1, 1.5)
    ) as funnel (
        kpi_date, device_category, default_channel_group, custom_channel_group, step_number, share_of_sessions
    );

    create table ops.schema_changes as from (values
        (date '2026-09-01', 'items', 'varchar', 'new'),
        (date '2026-09-02', 'items', 'varchar', 'newer')
    ) as changes (event_date, column_name, exported_as, change);

    create table marts.fct_attribution as from (values
        ('good', 1.0, 1.0, 0.5, 0.5, 0.3), ('good', 0.0, 0.0, 0.5, 0.5, 0.7),
        ('short', 1.0, 1.0, 0.9, 1.0, 1.0),
        ('none', 1.0, 1.0, 1.0, 1.0, null)
    ) as credits (
        purchase_id, first_click_credit, last_click_credit, linear_credit, position_based_credit, time_decay_credit
    );

    create table intermediate.int_touched_users as select 'touched' as user_key;
    create table marts.dim_users as from (values
        ('touched'), ('touched'), ('untouched'), ('untouched'), (null)
    ) as users (user_key);
"""


def find_faults(settings: Settings, models: list[str], *others: str, is_full_rebuild: bool) -> list[str]:
    """What the tests say of the tables, a line each."""
    settings.build_path.parent.mkdir(parents=True, exist_ok=True)
    settings.build_path.unlink(missing_ok=True)
    with duckdb.connect(str(settings.build_path)) as connection:
        connection.execute(TABLES.format(is_full_rebuild=is_full_rebuild))
    with pytest.raises(BuildFailedError) as failure:
        run_dbt(settings, ["test", "--select", *(f"columns_hold_{model}_*" for model in models), *others])
    return sorted(line.strip() for line in str(failure.value).splitlines() if line.startswith("  "))


def test_each_fault_is_found_and_told(settings: Settings) -> None:
    models = ["fct_purchases", "agg_funnel_daily", "schema_changes"]
    assert find_faults(settings, models, is_full_rebuild=True) == [
        "change is none of new, missing, retyped",
        "purchase_id repeats",
        "revenue_usd is below 0",
        "revenue_usd is null",
        "session_id is not in fct_sessions",
        "share_of_sessions is not between 0 and 1",
        "user_key is null",
    ]
    assert find_faults(settings, [], "credits_add_up_fct_attribution_*", is_full_rebuild=True) == ["none", "short"]
    # of an increment only what it has rewritten
    assert find_faults(settings, ["dim_users"], is_full_rebuild=True) == ["user_key is null", "user_key repeats"]
    assert find_faults(settings, ["dim_users"], is_full_rebuild=False) == ["user_key repeats"]
    with duckdb.connect(str(settings.build_path)) as connection:
        connection.execute("update intermediate.int_touched_users set user_key = 'another'")
    assert run_dbt(settings, ["test", "--select", "columns_hold_dim_users_*"])
