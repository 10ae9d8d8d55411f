"""What the warehouse says about incidents: the slow part of a check, worked out before the state file is locked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import duckdb

from alerts.detection.causes import Causes, explain
from alerts.detection.evaluation import evaluate_rules, select_baseline_dates
from alerts.detection.panel import DAILY_TABLE
from alerts.detection.revisions import Measures
from alerts.detection.verdicts import Check, Hours
from alerts.incidents.store import Incident
from alerts.rules.book import Direction, Rule, RuleBook

_Found = TypeVar("_Found")


class _NotWorkedOutError(Exception):
    """Something is asked for the first time while only what is known may be used."""


class Investigation:
    """Answers each question once, and remembers; between two questions the published tables do not change."""

    def __init__(
        self,
        warehouse: duckdb.DuckDBPyConnection,
        book: RuleBook,
        *,
        moment: dt.datetime,
        moved: Sequence[tuple[Measures, Measures]] = (),
    ) -> None:
        self._warehouse = warehouse
        self._book = book
        self._moment = moment
        self._moved = moved
        self._zone = moment.tzinfo if isinstance(moment.tzinfo, ZoneInfo) else None
        self._known: dict[Any, Any] = {}
        self._is_closed = False
        self.complete_to, self.provisional_to = self._read_freshness()

    def try_with_what_is_known(self, work: Callable[[], _Found]) -> _Found | None:
        """Do `work`, in which nothing is computed; None where it needed what is not known yet."""
        self._is_closed = True
        try:
            return work()
        except _NotWorkedOutError:
            return None
        finally:
            self._is_closed = False

    def explain(
        self,
        incident: Incident,
        rule: Rule,
        dates: list[dt.date],
        excluded: set[dt.date],
        hours: Mapping[dt.date, Hours],
    ) -> Causes:
        """What drives an incident that covers `dates`; `excluded` are days that its baseline may not use, and `hours`
        those of days whose cost they alone can tell."""

        def work() -> Causes:
            baseline = select_baseline_dates(self._warehouse, rule, dates, excluded, book=self._book)
            direction: Direction = "above" if incident.direction == "above" else "below"
            return explain(
                self._warehouse,
                rule,
                direction,
                dates,
                baseline,
                dimension_value=incident.label,
                hours=hours,
                zone=self._zone,
            )

        return self._once(("causes", incident.fingerprint, *dates, frozenset(excluded), *hours.items()), work)

    def list_checks(self, rule: Rule, since: dt.date, excluded: Mapping[str, set[dt.date]]) -> list[Check]:
        """A rule's checks of all series from a day on, oldest first; `excluded` as `evaluate_rules` takes it."""

        def work() -> list[Check]:
            book = self._book.model_copy(update={"rules": [rule]})
            return evaluate_rules(
                self._warehouse, book, as_of=self._moment, excluded=excluded, since=since, moved=self._moved
            )

        own = frozenset(
            (fingerprint, frozenset(days))
            for fingerprint, days in excluded.items()
            if fingerprint.startswith(f"{rule.name}|")
        )
        return self._once(("checks", rule.name, since, own), work)

    def _once(self, question: Any, work: Callable[[], _Found]) -> _Found:
        if question not in self._known:
            if self._is_closed:
                raise _NotWorkedOutError(question)
            self._known[question] = work()
        found: _Found = self._known[question]
        return found

    def _read_freshness(self) -> tuple[str | None, str | None]:
        """The last complete day, and the last provisional one if it is later."""
        ((complete, last),) = self._warehouse.execute(
            f"select max(kpi_date) filter (where not is_provisional), max(kpi_date) from {DAILY_TABLE}"
        ).fetchall()
        is_ahead = last is not None and (complete is None or last > complete)
        return complete.isoformat() if complete else None, last.isoformat() if is_ahead else None
