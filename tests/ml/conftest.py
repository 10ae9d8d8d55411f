"""Tiny warehouses with a known signal: feature tables made with numpy, their contract in a YAML like dbt's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml

from foundation.settings import Settings
from ml.jobs.train import train_models

FIRST_DAY = dt.date(2026, 3, 1)
POINTS = {"events_1": 1, "events_2": 2, "events_3": 3, "events_5": 5, "events_8": 8}

# name: (type, kind, unit)
FEATURES: dict[str, tuple[str, str, str | None]] = {
    "event_count": ("bigint", "numeric", "events"),
    "page_views": ("bigint", "numeric", "events"),
    "product_views": ("bigint", "numeric", "events"),
    "searches": ("bigint", "numeric", "events"),
    "wishlist_adds": ("bigint", "numeric", "events"),
    "max_scroll_percent": ("bigint", "numeric", "percent"),
    "engagement_seconds": ("double", "numeric", "seconds"),
    "days_since_previous_session": ("double", "numeric", "days"),
    "is_new_user": ("boolean", "flag", None),
    "device_category": ("varchar", "categorical", None),
    "country": ("varchar", "categorical", None),
}
LATE_FEATURES: dict[str, tuple[str, str, str | None]] = {"begin_checkouts": ("bigint", "numeric", "events")}


class HomeSettings(Settings):
    """Settings whose dbt project lies in the home folder, so that a test brings its own contract."""

    @property
    def dbt_project_dir(self) -> Path:
        return self.home / "dbt_project"


@dataclass
class Shop:
    """Feature tables of a made-up shop, with the true purchase probability of every row."""

    sessions: pd.DataFrame
    prefixes: pd.DataFrame
    session_truth: np.ndarray
    columns: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    version: str = "1"


def _column(name: str, data_type: str, **meta: Any) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "config": {"meta": meta}}


def declare_columns(*, prefixes: bool) -> list[dict[str, Any]]:
    """The YAML columns of one of the two tables."""
    columns = [
        _column("session_id", "varchar", role="key"),
        _column("user_pseudo_id", "varchar", role="key"),
        _column("session_date", "date", role="time"),
        _column("session_started_at", "timestamp", role="time"),
        _column("label_purchased", "boolean", role="label"),
    ]
    features = dict(FEATURES)
    if prefixes:
        columns += [
            _column("decision_point", "varchar", role="point"),
            _column("is_at_risk", "boolean", role="risk"),
        ]
        features["decision_events"] = ("bigint", "numeric", "events")
    else:
        features |= LATE_FEATURES
    columns += [
        _column(name, data_type, role="feature", kind=kind, unit=unit, late_funnel=name in LATE_FEATURES)
        for name, (data_type, kind, unit) in features.items()
    ]
    return columns


def make_shop(
    n: int = 3_000,
    *,
    days: int = 28,
    seed: int = 1,
    signal: float = 1.0,
    base: float = -2.0,
    multi_event_share: float = 0.9,
) -> Shop:
    """A shop with `n` sessions over `days` days, about two a user; `signal` 0 makes features say nothing."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n // 2, n)
    intent = rng.normal(size=n)
    kind = rng.choice(3, n, p=[0.4, 0.35, 0.25])  # skims, searches, explores
    day = rng.integers(0, days, n)
    page_views = 1 + rng.poisson(np.array([0.6, 5, 6])[kind])
    product_views = rng.poisson(np.array([0.1, 2, 9])[kind] * np.exp(0.2 * intent))
    searches = rng.poisson(np.array([0.02, 6, 0.1])[kind])
    wishlist = rng.poisson(np.exp(0.5 * intent - 1.5))
    seconds = rng.gamma(2, np.array([4, 60, 120])[kind]) * np.exp(0.2 * intent)
    is_new = rng.random(n) < 0.6
    device = rng.choice(np.array(["mobile", "desktop", "tablet"], dtype=object), n, p=[0.6, 0.35, 0.05])
    device[kind == 0] = rng.choice(np.array(["mobile", "desktop"], dtype=object), int((kind == 0).sum()), p=[0.9, 0.1])
    country = rng.choice(
        np.array(["DE", "US", "FR", "Andorra", None], dtype=object), n, p=[0.4, 0.4, 0.15, 0.005, 0.045]
    )
    logit = base + signal * (1.1 * intent + 0.5 * (device == "desktop") - 0.4 * is_new)
    truth = 1 / (1 + np.exp(-logit))
    label = rng.random(n) < truth
    events = 1 + page_views + product_views + searches + wishlist
    events[rng.random(n) >= multi_event_share] = 1
    dates = pd.to_datetime(FIRST_DAY) + pd.to_timedelta(day, unit="D")
    sessions = pd.DataFrame(
        {
            "session_id": [f"s|{row:06d}" for row in range(n)],
            "user_pseudo_id": [f"u{user}" for user in users],
            "session_date": dates.date,
            "session_started_at": dates + pd.to_timedelta(rng.integers(0, 86_000, n), unit="s"),
            "label_purchased": label,
            "event_count": events,
            "page_views": page_views,
            "product_views": product_views,
            "searches": searches,
            "wishlist_adds": wishlist,
            "max_scroll_percent": np.round(100 / (1 + np.exp(-intent - rng.normal(scale=0.3, size=n)))).astype(int),
            "engagement_seconds": seconds + 20 * np.exp(intent),
            "days_since_previous_session": np.where(is_new, np.nan, rng.exponential(9, n)),
            "is_new_user": is_new,
            "device_category": device,
            "country": country,
            "begin_checkouts": (rng.random(n) < np.sqrt(truth)).astype(int),  # no more than the truth knows
        }
    )
    prefixes = []
    for point, k in POINTS.items():
        alive = events >= k
        cut = sessions.loc[alive].drop(columns=list(LATE_FEATURES))
        share = np.minimum(1, k / events[alive])
        for name in ("page_views", "product_views", "searches", "wishlist_adds", "engagement_seconds"):
            part = cut[name].to_numpy() * share
            cut[name] = part if name == "engagement_seconds" else np.floor(part).astype(int)
        cut["event_count"] = k
        cut["decision_point"] = point
        cut["decision_events"] = k
        cut["is_at_risk"] = rng.random(int(alive.sum())) < 0.9 - 0.05 * k
        prefixes.append(cut)
    return Shop(
        sessions,
        pd.concat(prefixes, ignore_index=True),
        truth,
        {"feat_sessions": declare_columns(prefixes=False), "feat_session_prefixes": declare_columns(prefixes=True)},
    )


def write_contract(settings: Settings, shop: Shop) -> Path:
    """Write the shop's contracts into the folder where the settings look for them, and return it."""
    folder = settings.dbt_project_dir / "models" / "ml"
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in shop.columns.items():
        model = {"name": name, "config": {"meta": {"contract_version": shop.version}}, "columns": columns}
        text = yaml.safe_dump({"models": [model]}, sort_keys=False)
        (folder / f"{name}.yml").write_text(text, encoding="utf-8")
    return folder


def write_tables(path: Path, shop: Shop, *, touched_from: dt.date | None = None, is_full_rebuild: bool = False) -> None:
    """Put the shop's feature tables and `ops.build_info` into a DuckDB file; other tables in it stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema if not exists ml; create schema if not exists ops")
        for name, frame in (("feat_sessions", shop.sessions), ("feat_session_prefixes", shop.prefixes)):
            connection.register("frame", frame)
            columns = ", ".join(
                f"cast({column['name']} as {column['data_type']}) as {column['name']}" for column in shop.columns[name]
            )
            connection.execute(f"create or replace table ml.{name} as select {columns} from frame")
            connection.unregister("frame")
        connection.execute(
            "create or replace table ops.build_info as select 'run' as run_id, "
            "timestamp '2026-04-01 00:00:00' as as_of, "
            "cast(? as date) as touched_from, cast(? as boolean) as is_full_rebuild, "
            "'{}' as champions_seen, '{}' as champions_used",
            [touched_from, is_full_rebuild],
        )


@pytest.fixture
def shop_settings(tmp_path: Path) -> HomeSettings:
    """Settings over an empty home folder with a contract of its own."""
    return HomeSettings(home=tmp_path / "home", property_timezone="UTC", training_budget_seconds=1)


@pytest.fixture
def publish(shop_settings: HomeSettings) -> Callable[..., HomeSettings]:
    """Write a shop as both the published warehouse and the build file; returns the settings."""

    def write(shop: Shop, **build: Any) -> HomeSettings:
        write_contract(shop_settings, shop)
        write_tables(shop_settings.published_path, shop, **build)
        write_tables(shop_settings.build_path, shop, **build)
        return shop_settings

    return write


@pytest.fixture(scope="session")
def shop() -> Shop:
    """One shop for all tests that only read it, with purchases enough to promote a model."""
    return make_shop(3_200, base=-0.8, seed=6)


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Path:
    """A home folder with that shop published and its three champions; tests copy it."""
    settings = HomeSettings(
        home=tmp_path_factory.mktemp("trained") / "home", property_timezone="UTC", training_budget_seconds=1
    )
    write_contract(settings, shop)
    write_tables(settings.published_path, shop)
    report = train_models(settings)
    assert None not in report.champions.values(), [model.why for model in report.models]
    return settings.home
