"""Measure training on the feature rows of a large shop, and scoring a day of its sessions."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
from pathlib import Path

import duckdb

from benchmarks.costs import PROJECT, Cost, measure, print_costs

DAY_SESSIONS = 50_000
TABLES = ("feat_sessions", "feat_session_prefixes")
REFERENCE = "one logistic regression"
# read all numeric columns of all sessions, scale them, fit: what a notebook would begin with
PLAIN_REGRESSION = """
import duckdb
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from ml.io.contracts import contract_path, require_tables
from ml.io.frames import read_frame
table, _ = require_tables(contract_path(settings))
numeric = table.contract.select(table.contract.names_of_kind("numeric"))
with duckdb.connect(str(settings.published_path), read_only=True) as connection:
    frame = read_frame(connection, table.relation, numeric, columns=[table.label])
make_pipeline(StandardScaler(), LogisticRegression()).fit(frame[numeric.feature_names].fillna(0), frame[table.label])
"""
TRAIN = """
from ml.jobs.train import train_models
for model in train_models(settings, names=["{name}"]).models:
    print(model.status, model.estimator, model.why)
"""
# whatever the gates say: scoring is to have all three
PROMOTE = """
from ml.io.registry import ModelRegistry
registry = ModelRegistry(settings.models_dir)
for version in registry.list_versions():
    registry.promote(version.name, version.version, reason="benchmark")
"""
SCORE = """
from ml.jobs.score import score_sessions
print(score_sessions(settings).message)
"""


def enlarge(source: Path, target: Path, sessions: int, day_sessions: int) -> tuple[int, int, dt.date]:
    """Copy the feature tables of a published warehouse as often as it takes; every copy has users of its own.

    The newest day is copied until it has `day_sessions`. Returns sessions, rows at decision points, and that day.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(target)) as connection:
        connection.execute(f"attach '{source}' as origin (read_only)")
        connection.execute("create schema ml; create schema ops")
        have, newest = connection.execute("select count(*), max(session_date) from origin.ml.feat_sessions").fetchall()[
            0
        ]
        of_day = connection.execute(
            "select count(*) from origin.ml.feat_sessions where session_date = ?", [newest]
        ).fetchall()[0][0]
        copies, copies_of_day = -(-sessions // have), -(-day_sessions // of_day)
        for table in TABLES:
            connection.execute(
                f"""
                create table ml.{table} as
                select t.* replace (
                    t.session_id || '#' || c.copy as session_id, t.user_pseudo_id || '#' || c.copy as user_pseudo_id
                )
                from origin.ml.{table} as t
                inner join range({max(copies, copies_of_day)}) as c (copy)
                    on c.copy < case when t.session_date = date '{newest}' then {copies_of_day} else {copies} end
                """
            )
        connection.execute(
            "create table ops.build_info as select cast(null as date) as touched_from, true as is_full_rebuild"
        )
        counts = [connection.execute(f"select count(*) from ml.{table}").fetchall()[0][0] for table in TABLES]
    return counts[0], counts[1], newest


def measure_models(source: Path, home: Path, sessions: int) -> tuple[dict[str, Cost], str]:
    """The cost of each step on an enlarged copy of a published warehouse, and the sizes in a sentence."""
    shutil.rmtree(home, ignore_errors=True)
    environment = {**os.environ, "FUNNELHOUSE_HOME": str(home), "FUNNELHOUSE_ENV_FILE": os.devnull}
    published, build = home / "warehouse.duckdb", home / "build" / "warehouse.duckdb"
    n, n_points, newest = enlarge(source, published, sessions, DAY_SESSIONS)
    costs = {REFERENCE: measure(PLAIN_REGRESSION, environment)}
    for name in ("propensity_full", "propensity_precheckout", "segments"):
        costs[f"train {name}"] = measure(TRAIN.format(name=name), environment)
        print(name, costs[f"train {name}"].output, flush=True)
    measure(PROMOTE, environment)
    build.parent.mkdir()
    shutil.copyfile(published, build)
    costs["score all"] = measure(SCORE, environment)
    with duckdb.connect(str(build)) as connection:
        connection.execute("update ops.build_info set touched_from = ?, is_full_rebuild = false", [newest])
    costs["score a day"] = measure(SCORE, environment)
    print(costs["score a day"].output, flush=True)
    return costs, f"{n:,} sessions, {n_points:,} rows at decision points, {os.cpu_count()} cores"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path, help="a published warehouse.duckdb to take the feature rows from")
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=PROJECT / "benchmarks" / ".work" / "models")
    arguments = parser.parse_args()
    costs, sizes = measure_models(arguments.warehouse, arguments.work.resolve(), arguments.sessions)
    print(f"\n{sizes}\n")
    print_costs(costs, REFERENCE)


if __name__ == "__main__":
    main()
