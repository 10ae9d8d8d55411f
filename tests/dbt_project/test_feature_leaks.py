"""No feature knows the future: the project's own SQL is run again on a changed future, and planted leaks are caught."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from foundation.settings import Settings
from ingest.job import load_changed_days
from ml.core.contract import Feature, FeatureContract, FeatureTable
from ml.core.estimators import Candidate
from ml.core.leaks import (
    LeakFinding,
    check_leaks,
    check_lineage,
    check_names,
    check_permuted_labels,
    check_single_features,
    compare_rows,
)
from ml.io.contracts import contract_path, require_tables
from ml.io.frames import read_frame
from sample_shop.job import write_sample_shop
from sample_shop.options import SampleOptions
from tests.dbt_runner import build_and_publish

CHANGED_SESSIONS = 1_000
EVENTS = "stg_ga4__events_parsed"
FEATURE_MODELS = (
    "int_session_points",
    "int_session_entries",
    "int_session_steps",
    "int_session_context",
    "feat_sessions",
    "feat_session_prefixes",
)
PREFIX_KEYS = ["session_id", "decision_point"]


@dataclass(frozen=True)
class Node:
    """One dbt model: its compiled SQL, what it reads, and whether it is a table."""

    relation: str
    sql: str
    parents: tuple[str, ...]
    is_table: bool


class Shop:
    """A small sample shop, built once by dbt; its feature SQL can be run again on other events."""

    def __init__(self, settings: Settings, nodes: dict[str, Node]) -> None:
        self.settings = settings
        self.nodes = nodes
        self.sessions, self.prefixes = require_tables(contract_path(settings))

    def chain(self) -> list[Node]:
        """What stands between the staged events and the features, in the order in which it must be run."""
        wanted: list[str] = []

        def visit(name: str) -> bool:
            if name == EVENTS:
                return True
            if name.startswith("int_touched") and name != "int_touched_sessions":
                return False  # what a build rewrites, not what it writes
            if name in wanted or name not in self.nodes:
                return name in wanted
            depends = [visit(parent) for parent in self.nodes[name].parents]
            if any(depends):
                wanted.append(name)
            return any(depends)

        for name in ("feat_sessions", "feat_session_prefixes"):
            visit(name)
        return [self.nodes[name] for name in wanted]

    def rerun(self, path: Path, change: str) -> duckdb.DuckDBPyConnection:
        """A copy in which `change`, SQL over the staged events, has been done to them before the features."""
        path.parent.mkdir(parents=True)
        path.write_bytes(self.settings.published_path.read_bytes())
        connection = duckdb.connect(str(path))
        connection.execute(change)
        for node in self.chain():
            if node.is_table:
                connection.execute(f"drop table {node.relation}; create table {node.relation} as {node.sql}")
        return connection


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    settings = Settings(home=tmp_path_factory.mktemp("leaks") / "home", property_timezone="UTC")
    options = SampleOptions(sessions=2_000, days=5, end_date=dt.date(2026, 9, 30))
    write_sample_shop(settings, options, processes=1, progress=False)
    load_changed_days(settings, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_WRITE_JSON", "true")  # the compiled SQL is read below
        build_and_publish(settings)
    target = settings.build_path.parent / "dbt_target"
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    nodes = {}
    for node in manifest["nodes"].values():
        compiled = target / "compiled" / "funnelhouse" / node["original_file_path"]
        if node["resource_type"] == "model" and compiled.exists():
            parents = tuple(parent.rsplit(".", 1)[-1] for parent in node["depends_on"]["nodes"])
            nodes[node["name"]] = Node(
                f"{node['schema']}.{node['name']}",
                compiled.read_text(encoding="utf-8"),
                parents,
                is_table=node["config"]["materialized"] != "view",
            )
    assert set(FEATURE_MODELS) <= set(nodes)
    return Shop(settings, nodes)


@pytest.fixture(scope="module")
def published(shop: Shop) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(shop.settings.published_path), read_only=True) as connection:
        yield connection


# For each of these sessions, one to twelve events of other sessions, carts, orders and confirmation pages among them,
# somewhere up to three hours after its last event, and in every second session already a microsecond after it.
LATER_EVENTS = f"""
create table chosen as
select
    session_id, user_pseudo_id, stream_id, ga_session_id,
    max(event_timestamp) as ended, max(event_date) as event_date
from staging.{EVENTS} where session_id is not null and exclusion_reason is null
group by session_id, user_pseudo_id, stream_id, ga_session_id
qualify row_number() over (partition by user_pseudo_id order by hash(session_id)) = 1
order by hash(session_id, 1) limit {CHANGED_SESSIONS};

create table laters as
select
    session_id, step,
    ended + cast(
        case when step = 1 and hash(session_id, 5) % 2 = 0 then 1 else 1 + hash(session_id, step) % 10800000000 end
        as bigint
    ) as event_timestamp
from chosen, lateral (from range(1, cast(2 + hash(session_id, 4) % 12 as bigint)) as steps (step));

create table donors as
select row_number() over (order by hash(event_hash, 2)) as number, *
from staging.{EVENTS} where session_id is not null and exclusion_reason is null;

insert into staging.{EVENTS} by name
select
    donors.* exclude (number) replace (
        chosen.session_id as session_id, chosen.user_pseudo_id as user_pseudo_id, chosen.stream_id as stream_id,
        chosen.ga_session_id as ga_session_id, chosen.event_date as event_date,
        laters.event_timestamp as event_timestamp, hash(chosen.session_id, laters.step) as event_hash,
        (select max(event_key) from staging.{EVENTS}) + row_number() over () as event_key,
        case when donors.event_name = 'purchase' then 'new-' || hash(chosen.session_id, laters.step) end
            as transaction_id
    )
from chosen
inner join laters on chosen.session_id = laters.session_id
inner join donors
    on donors.number = cast(1 + hash(laters.session_id, laters.step, 3) % (select count(*) from donors) as bigint);
"""


@pytest.fixture(scope="module")
def later(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with shop.rerun(tmp_path_factory.mktemp("later") / "copy" / "warehouse.duckdb", LATER_EVENTS) as connection:
        yield connection


# Of the device of a changed session only that session, and its points before the first later event: the sessions and
# points after it may know of it.
UNTOUCHED = """
    (session_id in (select session_id from chosen) or user_pseudo_id not in (select user_pseudo_id from chosen))
    and not exists (
        select 1 from intermediate.int_session_points as points
        inner join intermediate.int_sessions as sessions on points.session_no = sessions.session_no
        inner join laters on sessions.session_id = laters.session_id
            and epoch_us(points.decision_at) >= laters.event_timestamp
        where sessions.session_id = f.session_id and points.decision_point = f.decision_point
    )
"""


def prefix_rows(
    connection: duckdb.DuckDBPyConnection, later: duckdb.DuckDBPyConnection, extra: str = ""
) -> pd.DataFrame:
    if connection is not later:
        for table in ("chosen", "laters"):
            connection.register(table, later.execute(f"from {table}").df())
    return connection.execute(f"select *{extra} from ml.feat_session_prefixes as f where {UNTOUCHED}").df()


def test_later_events_change_no_row(published: duckdb.DuckDBPyConnection, later: duckdb.DuckDBPyConnection) -> None:
    assert later.execute("select count(distinct session_id) from chosen").fetchall() == [(CHANGED_SESSIONS,)]
    added = f"select count(*) from staging.{EVENTS} where event_hash in (select hash(session_id, 1) from chosen)"
    assert later.execute(added).fetchall() == [(CHANGED_SESSIONS,)]
    before, after = prefix_rows(published, later), prefix_rows(later, later)
    changed = before.merge(after, on=PREFIX_KEYS, suffixes=("", "_after"))
    assert (changed["label_purchased"] != changed["label_purchased_after"]).sum() > 100  # the future did change
    rows = "select count(*) from ml.feat_session_prefixes"
    ((rows_before,), (rows_after,)) = published.execute(rows).fetchall() + later.execute(rows).fetchall()
    assert rows_after > rows_before  # sessions live on and reach more points
    idle = (changed["idle_seconds"] > 0) & changed["session_id"].isin(later.execute("from chosen").df()["session_id"])
    assert idle.sum() > 500  # also of visitors who have not done anything for a while
    assert compare_rows(before, after, PREFIX_KEYS, check="later_events", ignore=["label_purchased"]) == []


def test_what_follows_an_order_changes_no_row_of_the_whole_session(
    published: duckdb.DuckDBPyConnection, later: duckdb.DuckDBPyConnection
) -> None:
    bought = """
        select * from ml.feat_sessions
        where session_id in (select session_id from marts.fct_events where event_name = 'purchase')
            and session_id in (select session_id from chosen)
    """
    published.register("chosen", later.execute("from chosen").df())
    before = published.execute(bought).df()
    ids = before[["session_id"]]
    later.register("ids", ids)
    after = later.execute("select * from ml.feat_sessions where session_id in (select session_id from ids)").df()
    assert len(before) > 40
    assert compare_rows(before, after, ["session_id"], check="later_events", ignore=["label_purchased"]) == []


def test_money_and_order_ids_of_a_session_reach_none_of_its_features(
    shop: Shop, published: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    change = f"""
        create table lasts as
        select arg_max(session_id, event_timestamp) as session_id from staging.{EVENTS}
        where session_id is not null and exclusion_reason is null group by user_pseudo_id;
        update staging.{EVENTS} set
            purchase_revenue_usd = 1 + coalesce(purchase_revenue_usd, 0) * 3,
            refund_value_usd = 7,
            item_quantity = 99,
            transaction_id = case when event_name in ('purchase', 'refund') then 'other-' || event_hash end,
            value_usd = case when event_name = 'add_to_cart' then value_usd else 12345 end
        where session_id in (select session_id from lasts);
    """
    with shop.rerun(tmp_path / "money" / "warehouse.duckdb", change) as changed:
        lasts = changed.execute("from lasts").df()
        published.register("lasts", lasts)
        for table, keys in (("ml.feat_sessions", ["session_id"]), ("ml.feat_session_prefixes", PREFIX_KEYS)):
            query = f"select * from {table} where session_id in (select session_id from lasts)"
            before, after = published.execute(query).df(), changed.execute(query).df()
            assert len(before) > 1_000
            assert compare_rows(before, after, keys, check="money", ignore=["label_purchased"]) == []


def test_the_sql_of_features_names_nothing_that_is_denied(shop: Shop) -> None:
    sql = {name: shop.nodes[name].sql for name in FEATURE_MODELS}
    parents = {name: shop.nodes[name].parents for name in FEATURE_MODELS}
    assert check_lineage(sql, parents) == []
    # every way from the events to a feature leads through these models
    feeding = {node.relation.split(".")[1] for node in shop.chain()}
    doors = {parent for name in FEATURE_MODELS for parent in parents[name] if parent in feeding}
    assert doors - set(FEATURE_MODELS) == {"int_ordered_events", "int_sessions", "int_purchases", "int_own_referrers"}
    for contract in (shop.sessions.contract, shop.prefixes.contract):
        assert check_names(contract) == []


def test_denied_columns_and_tables_are_found_in_sql() -> None:
    sql = {"feat": "select item_quantity, my_revenue_usd_x from t -- refund_usd"}
    messages = [finding.message for finding in check_lineage(sql, {"feat": ["agg_kpis_daily", "fct_events"]})]
    assert messages == ["feat reads agg_kpis_daily, which knows more", "feat names the column item_quantity"]


def read_training_rows(
    connection: duckdb.DuckDBPyConnection, table: FeatureTable, extra: str = ""
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray | None, pd.DataFrame]:
    where = f"where {table.risk}" if table.risk else ""
    columns = [
        "session_id",
        "session_date",
        "user_pseudo_id",
        "label_purchased",
        *([table.point] if table.point else []),
    ]
    frame = read_frame(
        connection, f"(select * {extra} from {table.relation} as f {where})", table.contract, columns=columns
    )
    users = pd.factorize(frame["user_pseudo_id"])[0].astype(np.int64)
    points = frame[table.point].to_numpy(dtype=object) if table.point else None
    return frame[table.contract.feature_names], frame["label_purchased"].to_numpy(dtype=bool), users, points, frame


def test_no_single_feature_tells_the_label(shop: Shop, published: duckdb.DuckDBPyConnection) -> None:
    for table in (shop.sessions, shop.prefixes):
        features, labels, users, points, _ = read_training_rows(published, table)
        assert labels.sum() > 100
        assert check_leaks(features, labels, users, table.contract, points=points) == []


def fit_honestly(
    contract: FeatureContract, features: pd.DataFrame, labels: np.ndarray, is_train: np.ndarray
) -> np.ndarray:
    pipeline = Candidate("logistic_regression", {"C": 0.1}).build(contract, features[is_train])
    pipeline.fit(features[is_train], labels[is_train])
    scores: np.ndarray = pipeline.predict_proba(features[~is_train])[:, 1]
    return scores


def test_shuffled_labels_teach_nothing(shop: Shop, published: duckdb.DuckDBPyConnection) -> None:
    for table in (shop.sessions, shop.prefixes):
        features, labels, _, _, frame = read_training_rows(published, table)
        is_train = (frame["session_date"] < frame["session_date"].quantile(0.7)).to_numpy()

        def fit(
            rows: pd.DataFrame, known: np.ndarray, train: np.ndarray, contract: FeatureContract = table.contract
        ) -> np.ndarray:
            return fit_honestly(contract, rows, known, train)

        assert check_permuted_labels(fit, features, labels, is_train) == []

        def encode_with_all_labels(rows: pd.DataFrame, known: np.ndarray, train: np.ndarray) -> np.ndarray:
            groups = np.arange(len(rows)) % (len(rows) // 5)
            rate = pd.Series(known.astype(float)).groupby(groups).transform("mean").to_numpy()
            return rate[~train]

        found = check_permuted_labels(encode_with_all_labels, features, labels, is_train)
        assert [finding.check for finding in found] == ["permuted_labels"]


# Each of these looks harmless in a table of features, and knows the future.
PLANTED = {
    "events_of_the_session": "(select count(*) from marts.fct_events as e where e.session_id = f.session_id)",
    "conversion_of_the_campaign": """(
        select avg(cast(s.has_purchase as integer)) from intermediate.int_session_context as s
        where s.session_campaign = f.session_campaign
    )""",
    "orders_of_the_visitor": """(
        select count(*) from intermediate.int_purchases as p where p.user_pseudo_id = f.user_pseudo_id
    )""",
    "thanked_pages": """(
        select count(*) from marts.fct_events as e
        where e.session_id = f.session_id and e.page_path like '%/confirmation'
    )""",
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_caught_by_a_changed_future(
    published: duckdb.DuckDBPyConnection, later: duckdb.DuckDBPyConnection, name: str
) -> None:
    extra = f", {PLANTED[name]} as {name}"
    before, after = prefix_rows(published, later, extra), prefix_rows(later, later, extra)
    found = compare_rows(before, after, PREFIX_KEYS, check="later_events", ignore=["label_purchased"])
    assert [finding.feature for finding in found] == [name]
    assert found[0].value is not None and found[0].value > 100


def test_planted_leaks_are_caught_at_training(shop: Shop, published: duckdb.DuckDBPyConnection) -> None:
    planted = (
        Feature("thanked_pages", "BIGINT", "numeric", "pages", False),
        Feature("order_count", "BIGINT", "numeric", "orders", False),
    )
    table = shop.sessions
    contract = FeatureContract(table.contract.name, "1", (*table.contract.features, *planted))
    extra = f", {PLANTED['thanked_pages']} as thanked_pages, {PLANTED['orders_of_the_visitor']} as order_count"
    leaking = FeatureTable(table.relation, contract, table.column_types, table.label)
    features, labels, users, points, _ = read_training_rows(published, leaking, extra)
    found: list[LeakFinding] = check_leaks(features, labels, users, contract, points=points)
    assert {(finding.check, finding.feature) for finding in found} == {
        ("name", "order_count"),
        ("single_feature", "order_count"),
        ("single_feature", "thanked_pages"),
    }


def test_a_category_that_tells_the_label_is_found_and_an_id_is_not() -> None:
    rng = np.random.default_rng(3)
    labels = rng.random(4_000) < 0.1
    users = np.arange(4_000)
    features = pd.DataFrame(
        {
            "state": pd.Series(np.where(labels, "closed", "open")).astype("category"),
            "visit_code": pd.Series([f"v{row}" for row in range(4_000)]).astype("category"),
        }
    )
    contract = FeatureContract(
        "f", "1", tuple(Feature(name, "VARCHAR", "categorical", None, False) for name in features.columns)
    )
    assert [f.feature for f in check_single_features(features, labels, users, contract)] == ["state"]
