"""A shop by the hour, and the published warehouse as it would have been known at a moment."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from foundation.settings import Settings

START = dt.datetime(2026, 7, 1, tzinfo=dt.UTC)
DAY = 24
DEVICES = {"mobile": 0.6, "desktop": 0.4}
# of an hour's purchases, and of those who leave, what is known by the end of the same hour, of the next, and so on
BOUGHT = (0.75, 0.2, 0.05)
LEFT = (0.4, 0.5, 0.1)
_PROFILE = np.array([1, 1, 0, 0, 0, 1, 1, 2, 4, 5, 5, 6, 6, 5, 5, 5, 6, 6, 6, 7, 8, 7, 6, 3]) / 96.0


@dataclass
class HourlyShop:
    """`carts` a day, of which three in ten are bought, and five times as many sessions; a time zone of UTC.

    `broken`: for device and hour since `START`, the share of purchases that is left; `quiet`: for an hour, that of
    sessions. `slow`: hours whose buyers take so many hours longer, their visits going on.
    """

    days: int
    carts: int = 1_000
    seed: int = 1
    broken: dict[tuple[str, int], float] = field(default_factory=dict)
    quiet: dict[int, float] = field(default_factory=dict)
    slow: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generate = np.random.default_rng(self.seed)
        hours = self.days * DAY
        lags = len(BOUGHT) + 4
        self.sessions = {device: np.zeros(hours, dtype=int) for device in DEVICES}
        self.bought = {device: np.zeros((hours, lags), dtype=int) for device in DEVICES}
        self.left = {device: np.zeros((hours, lags), dtype=int) for device in DEVICES}
        for hour in range(hours):
            for device, share in DEVICES.items():
                visits = self.carts * _PROFILE[hour % DAY] * share * self.quiet.get(hour, 1.0)
                self.sessions[device][hour] = generate.poisson(5 * visits)
                chance = 0.3 * self.broken.get((device, hour), 1.0)
                later = self.slow.get(hour, 0)
                for lag, part in enumerate(BOUGHT):
                    self.bought[device][hour, lag + later] = generate.poisson(visits * chance * part)
                for lag, part in enumerate(LEFT):
                    self.left[device][hour, lag] = generate.poisson(visits * (1 - chance) * part)

    def publish(self, settings: Settings, moment: dt.datetime) -> None:
        """Write the published file as it is known at a whole hour: the day that is running has an intraday table."""
        over = int((moment - START) / dt.timedelta(hours=1))
        tables = self.cut(over)
        settings.published_path.parent.mkdir(parents=True, exist_ok=True)
        settings.published_path.unlink(missing_ok=True)
        with duckdb.connect(str(settings.published_path)) as connection:
            connection.execute("create schema marts")
            for name, frame in tables.items():
                connection.register("frame", frame)
                connection.execute(f"create table marts.{name} as select * from frame")
                connection.unregister("frame")

    def cut(self, over: int) -> dict[str, pd.DataFrame]:
        """The marts' tables, by name, when `over` hours are over."""
        hourly: list[dict[str, Any]] = []
        completions: list[dict[str, Any]] = []
        for hour in range(over):
            for device in ("all", *DEVICES):
                members = list(DEVICES) if device == "all" else [device]
                bought, left = (sum(values[each][hour] for each in members) for values in (self.bought, self.left))
                carts = int(bought.sum() + left.sum())
                known = np.arange(len(bought)) < over - hour
                hourly.append(self._hour(device, hour, over, members, carts, int(bought[known].sum())))
                completions += [
                    {
                        "stage": "cart",
                        "hour_started_at": _at(hour),
                        "dimension": "all" if device == "all" else "device_category",
                        "dimension_value": device,
                        "hours_later": lag,
                        "bought": int(bought[lag]),
                        "not_bought": int(left[lag]),
                    }
                    for lag in np.flatnonzero(known & (bought + left > 0)).tolist()
                ]
        frame = pd.DataFrame(hourly)
        frame["kpi_date"] = frame["hour_started_at"].dt.date
        today = (START + dt.timedelta(hours=over - 1)).date()
        daily = self._days(frame, today)
        whole = frame[frame["dimension_value"] == "all"]
        values = frame[frame["dimension_value"] != "all"]
        return {
            "agg_kpis_daily": daily[daily["dimension_value"] == "all"].drop(columns=["dimension", "dimension_value"]),
            "agg_kpis_daily_by_dimension": daily[daily["dimension_value"] != "all"],
            "agg_kpis_hourly": whole.drop(columns=["dimension", "dimension_value"]),
            "agg_kpis_hourly_by_dimension": values.drop(columns=["events", "is_over"]),
            "agg_completions_hourly": pd.DataFrame(completions),
            # half a minute before an hour is over, somebody is there
            "fct_events": pd.DataFrame(
                {
                    "event_at": [_at(hour + 1) - pd.Timedelta(seconds=30) for hour in range(over)],
                    "event_date": [_at(hour).date() for hour in range(over)],
                }
            ),
        }

    def _hour(self, device: str, hour: int, over: int, members: list[str], carts: int, bought: int) -> dict[str, Any]:
        sessions = sum(int(self.sessions[each][hour]) for each in members)
        return {
            "hour_started_at": _at(hour),
            "is_over": True,
            "dimension": "all" if device == "all" else "device_category",
            "dimension_value": device,
            "events": 8 * sessions,
            "sessions": sessions,
            "carts": carts,
            "carts_bought": bought,
            "checkouts": 0,
            "checkouts_bought": 0,
            "purchases": bought,
            "revenue_usd": 80.0 * bought,
        }

    def _days(self, hourly: pd.DataFrame, today: dt.date) -> pd.DataFrame:
        added = hourly.groupby(["kpi_date", "dimension", "dimension_value"], as_index=False).sum(numeric_only=True)
        ages = [(today - date).days for date in added["kpi_date"]]
        return pd.DataFrame(
            {
                "kpi_date": added["kpi_date"],
                "dimension": added["dimension"],
                "dimension_value": added["dimension_value"],
                "is_provisional": [age < 4 for age in ages],
                "table_kind": ["intraday" if age == 0 else "daily" for age in ages],
                "events": added["events"],
                "sessions": added["sessions"],
                "sessions_with_add_to_cart": added["carts"],
                "purchases": added["purchases"],
                "cart_abandonment_rate": 1 - added["carts_bought"] / added["carts"].clip(lower=1),
                "revenue_usd": added["revenue_usd"],
            }
        )


def hour_of(day: int, hour: int) -> int:
    """The number of an hour since `START`."""
    return day * DAY + hour


def moment_of(day: int, hour: int) -> dt.datetime:
    """The moment at which an hour of a day begins."""
    return START + dt.timedelta(days=day, hours=hour)


def _at(hour: int) -> pd.Timestamp:
    return pd.Timestamp(START.replace(tzinfo=None)) + pd.Timedelta(hours=hour)
