"""Measure the transform next to a bare scan, a plain session query, Polars, and its own SQL without dbt."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from benchmarks.costs import Cost, measure, print_costs
from benchmarks.lakes import WORK, environment_for, make_lake
from benchmarks.pipeline import PLAIN_SESSION_QUERY
from foundation.settings import Settings

SESSIONS = 90_000  # of the largest shop that is generated; beyond it, its visitors are copied
ROWS_PER_SESSION = 11.1
DAYS = 60
CONNECT = "import duckdb; c = duckdb.connect(config={{'preserve_insertion_order': False, 'memory_limit': '{limit}'}})\n"

# Every column that the project reads, and nothing done with it.
SCAN = """
select
    count(event_date), max(event_timestamp), count(event_name), sum(len(event_params)), count(event_value_in_usd),
    count(user_id), count(user_pseudo_id), count(device), count(geo), count(stream_id), count(platform),
    count(ecommerce), sum(len(items)), count(collected_traffic_source), count(batch_event_index),
    count(batch_page_id), count(batch_ordering_id), count(session_traffic_source_last_click)
from read_parquet('{lake}/event_date=*/*.parquet', hive_partitioning = false)
"""

# The plain query in Polars: the params read once into lists, as an expert would write it.
POLARS = """
import polars as pl
element = pl.element().struct
value = element.field('value').struct
def is_key(key):
    return element.field('key') == key
def text(key):
    return pl.col('event_params').list.eval(value.field('string_value').filter(is_key(key))).list.first()
def number(key):
    return pl.col('event_params').list.eval(value.field('int_value').filter(is_key(key))).list.first()
name = pl.col('event_name')
events = (
    pl.scan_parquet('{lake}/event_date=*/*.parquet', hive_partitioning=False)
    .filter(pl.col('user_pseudo_id').is_not_null())
    .select(
        'stream_id', 'user_pseudo_id', 'event_timestamp', 'event_name',
        ga_session_id=number('ga_session_id'), engagement=number('engagement_time_msec'),
        scrolled=number('percent_scrolled'), location=text('page_location'), source=text('source'),
        device=pl.col('device').struct.field('category'), country=pl.col('geo').struct.field('country'),
        revenue=pl.col('ecommerce').struct.field('purchase_revenue_in_usd'),
    )
)
by_time = pl.col('event_timestamp').arg_min()
sessions = events.group_by('stream_id', 'user_pseudo_id', 'ga_session_id').agg(
    started=pl.col('event_timestamp').min(), ended=pl.col('event_timestamp').max(), events=pl.len(),
    page_views=(name == 'page_view').sum(), product_views=(name == 'view_item').sum(),
    add_to_carts=(name == 'add_to_cart').sum(), begin_checkouts=(name == 'begin_checkout').sum(),
    purchases=(name == 'purchase').sum(), revenue=pl.col('revenue').filter(name == 'purchase').sum(),
    engagement_msec=pl.col('engagement').sum(), max_scroll=pl.col('scrolled').max(),
    landing_page=pl.col('location').get(by_time), source=pl.col('source').get(by_time),
    device=pl.col('device').first(), country=pl.col('country').first(),
)
print(sessions.collect(engine='streaming').height)
"""


def main() -> None:
    """Make the lake, measure each way over it once, print costs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="about so many rows (1,000,000)")
    parser.add_argument("--memory-limit", default="4GB", help="DuckDB's memory limit")
    parser.add_argument("--only-build", action="store_true", help="the project's build alone, for its memory")
    arguments = parser.parse_args()
    sessions = min(SESSIONS, round(arguments.events / ROWS_PER_SESSION))
    copies = max(1, round(arguments.events / (sessions * ROWS_PER_SESSION)))
    home = WORK / f"transform-{sessions}-{copies}"
    settings = make_lake(home, sessions=sessions, days=DAYS, copies=copies)
    environment = environment_for(home, arguments.memory_limit)
    lake = settings.lake_dir
    connect = CONNECT.format(limit=arguments.memory_limit)

    costs: dict[str, Cost] = {}

    def take(name: str, code: str) -> None:
        costs[name] = measure(code, environment)
        print(f"{name}: {costs[name].cpu_seconds:.1f} CPU s", file=sys.stderr, flush=True)

    clear(settings)
    if not arguments.only_build:
        take("scan", connect + f"c.execute({SCAN.format(lake=lake)!r}).fetchall()")
        take("plain query", connect + f"c.execute({PLAIN_SESSION_QUERY.format(lake=lake)!r})")
        take("Polars", POLARS.format(lake=lake))
    # as on every day but the first: dbt has parsed the project before
    measure("from benchmarks.by_hand import compile_models; compile_models(settings)", environment)
    take(
        "dbt build, all marts",
        "from warehouse.build import build_marts; build_marts(settings, run_id='benchmark', full_rebuild=True)",
    )
    if not arguments.only_build:
        take(
            "the same SQL by hand",
            "import json; from benchmarks.by_hand import run_compiled_models\n"
            "print('SPENT', json.dumps(run_compiled_models(settings)))",
        )
        printed = costs["the same SQL by hand"].output.splitlines()
        line = next(row for row in printed if row.startswith("SPENT"))
        stages, models = json.loads(line.removeprefix("SPENT "))
        for stage, seconds in stages.items():
            costs[f"by hand: {stage}"] = Cost(0.0, seconds, 0.0)
        for model in sorted(models, key=lambda name: -models[name])[:12]:
            print(f"{model}: {models[model]:.1f} CPU s", file=sys.stderr)
    clear(settings)
    print_costs(costs, "scan" if "scan" in costs else "dbt build, all marts")
    if not arguments.only_build:
        print_goals(costs)


def print_goals(costs: dict[str, Cost]) -> None:
    """The ratios that the project holds itself to."""
    cpu = {name: cost.cpu_seconds for name, cost in costs.items()}
    print(f"\nraw to sessions / scan: {cpu['by hand: to sessions'] / cpu['scan']:.2f}")
    print(f"all marts / plain query: {cpu['the same SQL by hand'] / cpu['plain query']:.2f}")
    print(f"dbt / by hand: {cpu['dbt build, all marts'] / cpu['the same SQL by hand']:.2f}")
    print(f"Polars / plain query: {cpu['Polars'] / cpu['plain query']:.2f}")


def clear(settings: Settings) -> None:
    """Throw away what an earlier benchmark built."""
    shutil.rmtree(settings.build_path.parent, ignore_errors=True)
    settings.published_path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
