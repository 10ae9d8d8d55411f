"""Measure the way from day files to published marts, next to one plain session query over the same files."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import duckdb

from benchmarks.costs import PROJECT, Cost, measure
from benchmarks.lakes import END_DATE, WORK, environment_for

# One row per session, as an analyst would write it by hand over the raw files: the reference of all ratios.
PLAIN_SESSION_QUERY = """
create table sessions as
with events as (
    select
        stream_id, user_pseudo_id, event_timestamp, event_name,
        list_transform(event_params, lambda p: p.key) as keys,
        list_transform(event_params, lambda p: p.value.int_value) as ints,
        list_transform(event_params, lambda p: p.value.string_value) as strings,
        device.category as device_category, geo.country as country, ecommerce.purchase_revenue_in_usd as revenue
    from read_parquet('{lake}/event_date=*/*.parquet', hive_partitioning = false)
    where user_pseudo_id is not null
)
select
    stream_id, user_pseudo_id, ints[list_position(keys, 'ga_session_id')] as ga_session_id,
    min(event_timestamp) as started, max(event_timestamp) as ended, count(*) as events,
    count(*) filter (where event_name = 'page_view') as page_views,
    count(*) filter (where event_name = 'view_item') as product_views,
    count(*) filter (where event_name = 'add_to_cart') as add_to_carts,
    count(*) filter (where event_name = 'begin_checkout') as begin_checkouts,
    count(*) filter (where event_name = 'purchase') as purchases,
    sum(revenue) filter (where event_name = 'purchase') as revenue,
    sum(ints[list_position(keys, 'engagement_time_msec')]) as engagement_msec,
    max(ints[list_position(keys, 'percent_scrolled')]) as max_scroll,
    arg_min(strings[list_position(keys, 'page_location')], event_timestamp) as landing_page,
    arg_min(strings[list_position(keys, 'source')], event_timestamp) as source,
    any_value(device_category) as device_category, any_value(country) as country
from events
group by all
"""

STAGES = {
    "ingest": "from ingest.job import load_changed_days; load_changed_days(settings, progress=False)",
    "validate landing": "from expectations.job import validate; validate(settings, 'landing', run_id='benchmark')",
    "build marts": "from warehouse.build import build_marts; build_marts(settings, run_id='benchmark')",
    "validate marts": "from expectations.job import validate; validate(settings, 'marts', run_id='benchmark')",
    "score (no models)": "from ml.jobs.score import score_sessions; score_sessions(settings)",
    "build scores": "from warehouse.build import build_scores; build_scores(settings)",
    "validate scores": "from expectations.job import validate; validate(settings, 'scores', run_id='benchmark')",
    "publish": "from warehouse.transaction import publish; publish(settings, run_id='benchmark')",
    "train": "from ml.jobs.train import train_models; train_models(settings)",
}


def main() -> None:
    """Generate (or reuse) a shop of the wanted size, run every stage, print a table of costs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--memory-limit", default="4GB", help="DuckDB's memory limit in every stage")
    parser.add_argument("--train", action="store_true", help="also train the models on the published features")
    parser.add_argument("--work", type=Path, default=WORK)
    arguments = parser.parse_args()
    home = arguments.work / f"{arguments.sessions}-sessions"
    environment = environment_for(home, arguments.memory_limit)
    options = ["--sessions", str(arguments.sessions), "--days", str(arguments.days), "--end-date", END_DATE]
    subprocess.run([sys.executable, "-m", "sample_shop", *options], cwd=PROJECT, env=environment, check=True)
    for name in ("lake", "build", "warehouse.duckdb", "ops.sqlite", "models", "docs", "validation"):
        subprocess.run(["rm", "-rf", str(home / name)], check=True)

    costs: dict[str, Cost] = {}
    for stage, code in STAGES.items():
        if stage == "train" and not arguments.train:
            continue
        costs[stage] = measure(code, environment)
        print(f"{stage}: {costs[stage]}", file=sys.stderr, flush=True)
    query = PLAIN_SESSION_QUERY.format(lake=home / "lake" / "events")
    plain = measure(
        "import duckdb\n"
        "c = duckdb.connect(config={'preserve_insertion_order': False,"
        f" 'memory_limit': '{arguments.memory_limit}'}})\n"
        f"c.execute({query!r})",
        environment,
    )
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        ((rows,),) = connection.execute("select cast(sum(raw_rows) as bigint) from ops.event_counts").fetchall()
        ((sessions,),) = connection.execute("select count(*) from marts.fct_sessions").fetchall()
    print_table(costs, plain, rows=rows, sessions=sessions)


def print_table(costs: dict[str, Cost], plain: Cost, *, rows: int, sessions: int) -> None:
    """Markdown, so that it can stand in the README beside this file."""
    pipeline = [cost for stage, cost in costs.items() if stage != "train"]
    wall = sum(cost.wall_seconds for cost in pipeline)
    cpu = sum(cost.cpu_seconds for cost in pipeline)
    print(f"\n{rows:,} rows, {sessions:,} sessions, {os.cpu_count()} cores\n")
    print("| stage | wall s | CPU s | share of CPU | peak MB | CPU / plain query |")
    print("|---|---:|---:|---:|---:|---:|")
    for stage, cost in costs.items():
        share = "" if stage == "train" else f"{100 * cost.cpu_seconds / cpu:.0f} %"
        print(
            f"| {stage} | {cost.wall_seconds:.1f} | {cost.cpu_seconds:.1f} | {share} | {cost.peak_megabytes:,.0f} "
            f"| {cost.cpu_seconds / plain.cpu_seconds:.2f} |"
        )
    print(
        f"| **files to published marts** | {wall:.1f} | {cpu:.1f} | 100 % "
        f"| {max(cost.peak_megabytes for cost in pipeline):,.0f} | {cpu / plain.cpu_seconds:.2f} |"
    )
    print(
        f"| plain session query | {plain.wall_seconds:.1f} | {plain.cpu_seconds:.1f} | "
        f"| {plain.peak_megabytes:,.0f} | 1.00 |"
    )
    print(f"\n{rows / wall:,.0f} events/s from files to published marts")


if __name__ == "__main__":
    main()
