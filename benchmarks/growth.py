"""Measure how a full build grows with each dimension of a shop, the others held."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import math
import multiprocessing
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.costs import Cost, measure, print_costs
from benchmarks.lakes import WORK, environment_for, flatten, settings_for
from foundation.connect import open_build
from foundation.settings import Settings
from warehouse.ga4_schema import EVENT_COLUMNS
from warehouse.lake import MANIFEST_NAME, PARTITION_PREFIX, Manifest

FIRST_DATE = dt.date(2026, 6, 1)
FACTORS = (1, 4, 16)
GOAL = 1.1
HALF_A_DAY = 43_200_000_000  # microseconds over which a day's sessions begin
BUILD = "from warehouse.build import build_marts; build_marts(settings, run_id='growth', full_rebuild=True)"


@dataclass(frozen=True)
class Shape:
    """How much there is of everything; `values` are different countries, browsers and campaigns."""

    days: int = 4
    sessions_per_day: int = 1_000
    events_per_session: int = 8
    pages: int = 60
    values: int = 24


def main() -> None:
    """Build a shop at 1, 4 and 16 times each dimension, and print by which power of it the cost grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=Shape.sessions_per_day, help="sessions a day at 1x")
    parser.add_argument("--tries", type=int, default=2, help="builds of each shop, of which the cheapest counts")
    parser.add_argument("--memory-limit", default="4GB", help="DuckDB's memory limit")
    arguments = parser.parse_args()
    base = Shape(sessions_per_day=arguments.sessions)
    how = (arguments.memory_limit, arguments.tries)
    costs: dict[str, Cost] = {"empty": build(Shape(days=1, sessions_per_day=0), *how)}
    exponents = {}
    first = build(base, *how)
    for name in ("events_per_session", "pages", "values", "days", "sessions_per_day"):
        costs[f"{name} x 1"] = first
        for factor in FACTORS[1:]:
            shape = dataclasses.replace(base, **{name: getattr(base, name) * factor})
            costs[f"{name} x {factor}"] = build(shape, *how)
        exponents[name] = _fit([costs[f"{name} x {factor}"].cpu_seconds for factor in FACTORS], costs["empty"])
    print_costs(costs, "empty")
    print("\n| dimension | cost grows with its power of |\n|---|---:|")
    for name, exponent in exponents.items():
        print(f"| {name.replace('_', ' ')} | {exponent:.2f} |")
    print(f"\nlargest: {max(exponents.values()):.2f} (goal: at most {GOAL})")


def build(shape: Shape, memory_limit: str, tries: int) -> Cost:
    """The cheapest of some full builds of a shop of this shape."""
    home = WORK / "growth"
    shutil.rmtree(home, ignore_errors=True)
    settings = settings_for(home)
    # in a process of its own: one that is started later reports the memory of this one as its own
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.starmap(_write_day, [(settings, shape, index) for index in range(shape.days)])
    flatten(settings)
    environment = environment_for(home, memory_limit)
    cost = min((measure(BUILD, environment) for _ in range(tries)), key=lambda cost: cost.cpu_seconds)
    with open_build(settings, read_only=True) as connection:
        counted = connection.execute("select count(*) from marts.fct_sessions").fetchall()[0][0]
    if counted != shape.days * shape.sessions_per_day:
        raise RuntimeError(f"of the sessions of {shape}, {counted} were built")
    shutil.rmtree(home)
    return cost


def _fit(seconds: list[float], empty: Cost) -> float:
    """The steeper slope of log cost over log size, from the smallest and from the middle to the largest.

    What an empty build costs is taken off: it would make any growth look flat.
    """
    logs = [math.log(max(each - empty.cpu_seconds, 0.01)) for each in seconds]
    sizes = [math.log(factor) for factor in FACTORS]
    return max((logs[-1] - logs[n]) / (sizes[-1] - sizes[n]) for n in (0, 1))


def _write_day(settings: Settings, shape: Shape, index: int) -> None:
    """A day of sessions that look at pages, of which every fifth fills a cart and every tenth buys."""
    date = FIRST_DATE + dt.timedelta(days=index)
    midnight = int(dt.datetime.combine(date, dt.time(8), tzinfo=dt.UTC).timestamp()) * 1_000_000
    folder = settings.lake_dir / f"{PARTITION_PREFIX}{date}"
    folder.mkdir(parents=True)
    columns = {
        "event_date": f"'{date:%Y%m%d}'",
        "event_timestamp": f"{midnight} + s * {HALF_A_DAY // max(shape.sessions_per_day, 1)} + e * 9_000_000",
        "event_name": """
            case
                when e = 0 then 'session_start' when s % 5 = 0 and e = 3 then 'add_to_cart'
                when s % 10 = 0 and e = 4 then 'begin_checkout' when s % 10 = 0 and e = 5 then 'purchase'
                when e % 3 = 1 then 'view_item' else 'page_view'
            end""",
        "event_params": f"""
            [{_param("ga_session_id", "int_value", f"{index} * 10_000_000 + s + 1")},
             {_param("page_location", "string_value", f"'https://shop.example/' || ((s * 7 + e * 3) % {shape.pages})")},
             {_param("engagement_time_msec", "int_value", "4_000")}]""",
        "user_pseudo_id": f"'{index % 3}.' || s",
        "device": f"""{{'category': ['mobile', 'desktop'][1 + s % 2],
            'web_info': {{'browser': 'browser ' || (s % {shape.values}), 'hostname': 'shop.example'}}}}""",
        "geo": f"{{'country': 'country ' || (s % {shape.values})}}",
        "collected_traffic_source": f"""{{'manual_source': 'source ' || (s % {shape.values}), 'manual_medium': 'cpc',
            'manual_campaign_name': 'campaign ' || (s % {shape.values})}}""",
        "stream_id": "'1'",
        "platform": "'WEB'",
        "ecommerce": f"""case when s % 10 = 0 and e = 5 then {{'purchase_revenue_in_usd': 40.0,
            'transaction_id': '{index}.' || s}} end""",
    }
    select = ", ".join(f"cast({columns.get(name, 'null')} as {kind}) as {name}" for name, kind in EVENT_COLUMNS.items())
    source = f"range({shape.sessions_per_day}) as sessions(s), range({shape.events_per_session}) as events(e)"
    _write(folder, f"select {select} from {source} order by s, e", date, shape)


def _param(key: str, kind: str, value: str) -> str:
    values = ", ".join(
        f"'{name}': {value if name == kind else 'null'}"
        for name in ("string_value", "int_value", "float_value", "double_value")
    )
    return f"{{'key': '{key}', 'value': {{{values}}}}}"


def _write(folder: Path, query: str, date: dt.date, shape: Shape) -> None:
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute(f"copy ({query}) to '{folder}/part-00000.parquet' (format parquet)")
    manifest = Manifest(
        event_date=date.isoformat(),
        table_name=f"events_{date:%Y%m%d}",
        kind="daily",
        source_uri="growth",
        source_files=[],
        content_hash=f"{date} {shape}",
        row_count=shape.sessions_per_day * shape.events_per_session,
        lake_files=["part-00000.parquet"],
        loaded_at="2026-07-01T00:00:00+00:00",
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
