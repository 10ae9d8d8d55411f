"""Measure loading and the transform next to a scan, a plain query, chDB, Polars, and the SQL without dbt."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from benchmarks.costs import Cost, measure, print_costs
from benchmarks.lakes import WORK, environment_for, link_export, make_lake
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


# The plain query in ClickHouse's embedded form, over the same files.
CHDB = """
from chdb.session import Session
session = Session()
session.query('''
create table sessions engine = Memory as
with events as (
    select
        stream_id, user_pseudo_id, event_timestamp, event_name,
        arrayMap(p -> p.key, event_params) as keys, arrayMap(p -> p.value.int_value, event_params) as ints,
        arrayMap(p -> p.value.string_value, event_params) as strings,
        device.category as device_category, geo.country as country, ecommerce.purchase_revenue_in_usd as revenue
    from file('{lake}/event_date=*/*.parquet', Parquet)
    where user_pseudo_id is not null
)
select
    stream_id, user_pseudo_id, ints[indexOf(keys, 'ga_session_id')] as ga_session_id,
    min(event_timestamp) as started, max(event_timestamp) as ended, count(*) as events,
    countIf(event_name = 'page_view') as page_views, countIf(event_name = 'view_item') as product_views,
    countIf(event_name = 'add_to_cart') as add_to_carts, countIf(event_name = 'begin_checkout') as begin_checkouts,
    countIf(event_name = 'purchase') as purchases, sumIf(revenue, event_name = 'purchase') as revenue,
    sum(ints[indexOf(keys, 'engagement_time_msec')]) as engagement_msec,
    max(ints[indexOf(keys, 'percent_scrolled')]) as max_scroll,
    argMin(strings[indexOf(keys, 'page_location')], event_timestamp) as landing_page,
    argMin(strings[indexOf(keys, 'source')], event_timestamp) as source,
    any(device_category) as device_category, any(country) as country
from events
group by stream_id, user_pseudo_id, ga_session_id
settings max_threads = {threads}
''')
print('SESSIONS', session.query('select count() from sessions', 'TSV'))
"""
BUILD = "from warehouse.build import build_marts; build_marts(settings, run_id='benchmark')"
PUBLISH = "from warehouse.transaction import publish; publish(settings, run_id='benchmark')"
BY_HAND = (
    "import json; from benchmarks.by_hand import run_compiled_models\n"
    "print('SPENT', json.dumps(run_compiled_models(settings)))"
)


class Run:
    """The costs of one run, each printed as it comes."""

    def __init__(self, memory_limit: str) -> None:
        self.costs: dict[str, Cost] = {}
        self.memory_limit = memory_limit

    def take(self, name: str, code: str, home: Path, **settings: str) -> Cost:
        """Measure a piece of Python in a process of its own."""
        cost = measure(code, {**environment_for(home, self.memory_limit), **settings})
        self.costs[name] = cost
        print(f"{name}: {cost.cpu_seconds:.1f} CPU s", file=sys.stderr, flush=True)
        return cost

    def take_plain(self, name: str, lake: Path, home: Path) -> None:
        """Measure the plain query."""
        connect = CONNECT.format(limit=self.memory_limit)
        self.take(name, connect + f"c.execute({PLAIN_SESSION_QUERY.format(lake=lake)!r})", home)

    def take_by_hand(self, name: str, settings: Settings, home: Path) -> dict[str, float]:
        """Measure the compiled SQL of a full build; its CPU seconds by stage."""
        clear(settings)
        # as on every day but the first: dbt has parsed the project before
        measure(
            "from benchmarks.by_hand import compile_models; compile_models(settings)",
            environment_for(home, self.memory_limit),
        )
        printed = self.take(name, BY_HAND, home).output.splitlines()
        stages, models = json.loads(next(row for row in printed if row.startswith("SPENT ")).removeprefix("SPENT "))
        for model in sorted(models, key=lambda model: -models[model])[:12]:
            print(f"  {model}: {models[model]:.1f} CPU s", file=sys.stderr)
        return dict(stages)


def main() -> None:
    """Make the lakes, measure each way over them once, print costs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="about so many rows (1,000,000)")
    parser.add_argument("--memory-limit", default="4GB", help="DuckDB's memory limit")
    parser.add_argument("--only-build", action="store_true", help="the project's build alone, for its memory")
    arguments = parser.parse_args()
    sessions = min(SESSIONS, round(arguments.events / ROWS_PER_SESSION))
    copies = max(1, round(arguments.events / (sessions * ROWS_PER_SESSION)))
    home = WORK / f"transform-{sessions}-{copies}"
    settings = make_lake(home, sessions=sessions, days=DAYS, copies=copies)
    run = Run(arguments.memory_limit)
    clear(settings)
    if not arguments.only_build:
        take_references(run, settings, home)
    take_builds(run, settings, home)
    if arguments.only_build:
        print_costs(run.costs, "dbt build, all marts")
        return
    stages = run.take_by_hand("the same SQL by hand", settings, home)
    own_home = home.with_name(home.name + "-own-pages")
    own = make_lake(own_home, sessions=sessions, days=DAYS, copies=copies, has_own_pages=True)
    run.take_plain("plain query, pages of their own", own.lake_dir, own_home)
    run.take_by_hand("SQL by hand, pages of their own", own, own_home)
    for made in (settings, own):
        clear(made)
    print_costs(run.costs, "plain query")
    print_goals({name: cost.cpu_seconds for name, cost in run.costs.items()}, stages)


def take_references(run: Run, settings: Settings, home: Path) -> None:
    """What a user would pick instead, and what it costs to load the files."""
    lake = settings.lake_dir
    connect = CONNECT.format(limit=run.memory_limit)
    run.take("scan", connect + f"c.execute({SCAN.format(lake=lake)!r}).fetchall()", home)
    run.take_plain("plain query", lake, home)
    run.take("chDB", CHDB.format(lake=lake, threads=os.cpu_count()), home)
    run.take("Polars", POLARS.format(lake=lake), home)
    export, loaded = home / "export", home / "loaded"
    link_export(settings, export)
    code = "from ingest.job import load_changed_days; load_changed_days(settings, progress=False)"
    run.take("ingest", code, loaded, FUNNELHOUSE_SOURCE=str(export))
    for folder in (export, loaded):
        shutil.rmtree(folder)


def take_builds(run: Run, settings: Settings, home: Path) -> None:
    """The project's builds: whole, without staging, and with nothing to do."""
    environment = environment_for(home, run.memory_limit)
    measure("from benchmarks.by_hand import compile_models; compile_models(settings)", environment)
    run.take("dbt build, all marts", BUILD, home)
    measure(PUBLISH, environment)
    run.take("dbt build, nothing new", BUILD, home)
    # a setting that only marts read
    run.take("dbt build, staging kept", BUILD, home, FUNNELHOUSE_ATTRIBUTION_LOOKBACK_DAYS="31")
    clear(settings)


def print_goals(cpu: dict[str, float], stages: dict[str, float]) -> None:
    """The ratios that the project holds itself to; `stages` are those of the SQL by hand."""
    plain, marts = cpu["plain query"], cpu["the same SQL by hand"]
    own = cpu["SQL by hand, pages of their own"] / cpu["plain query, pages of their own"]
    print(f"\nall marts / plain query: {marts / plain:.2f}; staging kept: {(marts - stages['staging']) / plain:.2f}")
    print(f"all marts / plain query where hardly a page repeats: {own:.2f}")
    print(f"files to marts (ingest and SQL by hand) / plain query: {(cpu['ingest'] + marts) / plain:.2f}")
    print(f"staging / scan: {stages['staging'] / cpu['scan']:.2f}")
    print(f"raw to sessions / scan: {stages['to sessions'] / cpu['scan']:.2f}")
    print(f"dbt / by hand: {cpu['dbt build, all marts'] / marts:.2f}")
    print(f"chDB / plain query: {cpu['chDB'] / plain:.2f}; Polars / plain query: {cpu['Polars'] / plain:.2f}")


def clear(settings: Settings) -> None:
    """Throw away what an earlier benchmark built."""
    shutil.rmtree(settings.build_path.parent, ignore_errors=True)
    settings.published_path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
