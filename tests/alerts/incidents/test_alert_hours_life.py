"""Hours and days of one problem are one incident: told within hours, over by the hour, confirmed or taken back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hourly_shop import HourlyShop, hour_of, moment_of

from alerts.incidents import store
from alerts.incidents.arrivals import note_arrival
from alerts.incidents.check import Decision, check_rules
from alerts.incidents.sending import deliver_outbox
from alerts.messages.chart import describe_chart
from alerts.messages.facts import KpiFacts
from alerts.state import open_alerts
from alerts.summary import tell_incidents
from foundation.connect import open_published
from foundation.settings import Settings
from foundation.state import open_state

RULES = Path(__file__).parent.parent / "hourly_rules.yml"
TODAY = 42
MOBILE = "20260812-cart_abandonment_rate-mobile_f678e6-above"
LATER = dt.timedelta(minutes=5)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(alert_rules=RULES)


def run(settings: Settings, shop: HourlyShop, day: int, hour: int) -> Decision:
    """Publish what is known at a whole hour, check five minutes later, and deliver."""
    moment = moment_of(day, hour)
    shop.publish(settings, moment)
    decision = check_rules(settings, run_id=f"run-{day}-{hour}", as_of=moment + LATER)
    deliver_outbox(settings)
    return decision


def history(settings: Settings) -> list[tuple[Any, ...]]:
    with open_state(settings) as state:
        return [
            (row["incident_id"].split("-", 1)[1], row["event"], row["detail"])
            for row in state.execute("select incident_id, event, detail from alert_events order by event_id")
        ]


def message(settings: Settings, incident_id: str) -> list[str]:
    return (settings.alerts_dir / incident_id / "message.txt").read_text(encoding="utf-8").splitlines()


def break_mobile(hours: range, **options: Any) -> HourlyShop:
    return HourlyShop(days=TODAY + 3, broken={("mobile", hour_of(TODAY, hour)): 0.0 for hour in hours}, **options)


def test_a_break_is_told_within_hours_goes_on_in_one_thread_and_is_over_by_the_hour(settings: Settings) -> None:
    shop = break_mobile(range(10, 14))
    for hour in (9, 10, 11):
        assert not run(settings, shop, TODAY, hour).new
    found = [hour for hour in (12, 13) if run(settings, shop, TODAY, hour).new]
    assert found[:1] in ([12], [13])  # within three hours, at 1,000 carts a day
    headline = message(settings, MOBILE)[0]
    assert headline.startswith("🔴 Cart abandonment rate, mobile: 0 of ")
    assert headline.endswith(" expected since Wed 12 Aug, 10:00") and " carts bought, " in headline
    for hour in range(14, 20):
        run(settings, shop, TODAY, hour)
    told = [entry for entry in history(settings) if entry[0].endswith("mobile_f678e6-above")]
    assert [event for _, event, _ in told if event not in ("folded", "joined")] == ["opened", "resolved"]
    assert told[-1][2] == "usual again since 14:00; it lasted 4 hours"
    assert message(settings, MOBILE)[0].endswith(" expected from Wed 12 Aug, 10:00 to 14:00")
    # what it cost is what should have come in these hours: about 45 orders
    (cost,) = [line for line in message(settings, MOBILE) if line.startswith("Estimated cost so far")]
    assert 30 < float(cost.split(": ")[1].split(" ")[0]) < 60
    # the day's own table says the same, whatever the whole day looks like; nothing opens or ends anew
    before = len(history(settings))
    run(settings, shop, TODAY + 1, 1)
    later = [entry for entry in history(settings)[before:] if entry[0].endswith("mobile_f678e6-above")]
    assert [event for _, event, _ in later] == ["confirmed"]
    assert later[0][2] == "the table of Wed 12 Aug 2026 has come and says the same"
    before = len(history(settings))
    for hour in (2, 3, 12):
        run(settings, shop, TODAY + 1, hour)
    assert history(settings)[before:] == []


def test_the_chart_adds_up_the_hours_and_the_brief_says_them(settings: Settings) -> None:
    shop = break_mobile(range(10, 14))
    run(settings, shop, TODAY, 14)
    with open_alerts(settings) as state:
        facts = store.read_facts(state, MOBILE)
    assert isinstance(facts, KpiFacts)
    points = {point.date[:16]: point for point in facts.points}
    # from twelve hours before the break on; the newest hour waits, as nothing is known yet of late events
    assert (min(points), max(points)) == ("2026-08-11T23:00", "2026-08-12T13:00")
    came = shop.bought["mobile"][hour_of(TODAY - 1, 22) :]
    for hour in (3, 10, 13):
        # of the hours from 22:00 to this one, what had come by 13:00
        known = sum(int(came[each, : 15 - each].sum()) for each in range(hour + 2))
        assert points[f"2026-08-12T{hour:02d}:00"].observed == known
    broken = [date for date, point in points.items() if point.is_incident]
    assert broken == [f"2026-08-12T{hour}:00" for hour in (11, 12, 13)]
    last = points["2026-08-12T13:00"]
    assert last.band_low is not None and last.observed is not None and last.observed < last.band_low
    chart = describe_chart(facts)
    assert chart["title"]["subtitle"] == "Incident (red): since Wed 12 Aug, 10:00"
    assert tell_incidents(settings)[MOBILE].splitlines()[0] == "🔴 Cart abandonment rate, mobile"
    for hour in range(15, 20):
        run(settings, shop, TODAY, hour)
    said = tell_incidents(settings)[MOBILE].splitlines()
    assert said[0] == "✅ Cart abandonment rate, mobile" and said[1].endswith("from Wed 12 Aug, 10:00 to 14:00.")


def test_a_second_look_at_the_same_tables_changes_nothing(settings: Settings) -> None:
    shop = break_mobile(range(10, 16))
    run(settings, shop, TODAY, 14)
    with open_state(settings) as state:
        first = [tuple(row) for row in state.execute("select * from alert_checks order by 1, 6")]
        # as if nobody had noted what was looked at last
        state.execute("delete from alert_last_check")
    assert run_again(settings).touched == set()
    with open_state(settings) as state:
        assert [tuple(row) for row in state.execute("select * from alert_checks order by 1, 6")] == first


def run_again(settings: Settings) -> Decision:
    return check_rules(settings, run_id="again", as_of=moment_of(TODAY, 14) + 2 * LATER)


def test_what_turns_out_usual_in_the_days_own_table_is_withdrawn_in_its_thread(settings: Settings) -> None:
    run(settings, break_mobile(range(10, 16)), TODAY, 14)
    assert ("cart_abandonment_rate-mobile_f678e6-above", "opened", "") in history(settings)
    # the purchases had only not been exported yet
    run(settings, HourlyShop(days=TODAY + 3), TODAY, 16)
    told = [event for name, event, _ in history(settings) if name == "cart_abandonment_rate-mobile_f678e6-above"]
    assert told[-1] == "withdrawn"


def test_buyers_who_take_longer_are_not_lost(settings: Settings) -> None:
    evening = {hour_of(TODAY, hour): 2 for hour in range(18, 22)}
    shop = HourlyShop(days=TODAY + 3, carts=2_000, slow=evening)
    for day, hour in [(TODAY, 19), (TODAY, 20), (TODAY, 21), (TODAY, 22), (TODAY, 23), (TODAY + 1, 1)]:
        assert not run(settings, shop, day, hour).new, hour


def test_figures_that_only_go_on_are_told_every_two_hours(settings: Settings) -> None:
    shop = HourlyShop(days=TODAY + 3, quiet={hour_of(TODAY, hour): 0.0 for hour in range(9, 24)})
    updates = []
    for hour in range(10, 17):
        run(settings, shop, TODAY, hour)
        path = settings.alerts_dir / "20260812-events-below" / "message.txt"
        updates.append(path.read_text(encoding="utf-8").splitlines()[0] if path.exists() else None)
    told = [text for text in updates if text is not None]
    assert len(told) >= 5
    changes = [place for place in range(1, len(told)) if told[place] != told[place - 1]]
    assert changes and np.diff(changes).min(initial=2) >= 2
    assert " Events: 0, " in told[-1] and told[-1].endswith(" expected since Wed 12 Aug, 09:00")


def test_silence_is_told_once_it_is_known_how_late_events_come(settings: Settings) -> None:
    shop = HourlyShop(days=TODAY + 3)
    shop.publish(settings, moment_of(TODAY, 14))
    # nothing has come since 14:00, and nobody knows whether that is usual
    assert not check_rules(settings, run_id="unknown", as_of=moment_of(TODAY, 17) + LATER).new
    with open_state(settings) as state:
        state.execute("delete from alert_arrivals")
        state.executemany(
            "insert into alert_arrivals values (?, ?)",
            [
                (
                    (moment_of(TODAY, 10) - dt.timedelta(hours=age) + LATER).isoformat(),
                    moment_of(TODAY, 10 - age).isoformat(),
                )
                for age in range(24)
            ],
        )
    # five minutes are: at 15:04 the hour is not known yet, at 16:05 two hours are
    assert not check_rules(settings, run_id="early", as_of=moment_of(TODAY, 15) + LATER / 2).new
    decision = check_rules(settings, run_id="late", as_of=moment_of(TODAY, 16) + 2 * LATER)
    deliver_outbox(settings)
    assert "20260812-events-below" in decision.new
    (headline, *_) = message(settings, "20260812-events-below")
    assert headline.startswith("🟠 ") and " Events: 0, " in headline and headline.endswith(" since Wed 12 Aug, 14:00")
    # sessions and their parts are told in its thread
    with open_state(settings) as state:
        folded = state.execute(
            "select distinct folded_into from alert_incidents where folded_into is not null"
        ).fetchall()
    assert [tuple(row) for row in folded] == [("20260812-events-below",)]


def test_what_has_come_of_the_newest_hour_is_held_against_what_usually_has_by_then(settings: Settings) -> None:
    # for a day, every check has known half of the hour that had just ended, and all of the one before
    shop = HourlyShop(days=TODAY + 3)
    shop.publish(settings, moment_of(TODAY, 9))
    with open_published(settings) as warehouse:
        events = dict(
            warehouse.execute("select hour_started_at, events from marts.agg_kpis_hourly where events > 0").fetchall()
        )
    with open_alerts(settings) as state:
        for age in range(24):
            moment = moment_of(TODAY, 9) - dt.timedelta(hours=age)
            checked = (moment + LATER).isoformat()
            state.execute("insert into alert_arrivals values (?, ?)", (checked, moment.isoformat()))
            for back, share in ((1, 0.5), (2, 1.0)):
                hour = moment - dt.timedelta(hours=back)
                known = int(events.get(hour.replace(tzinfo=None), 0) * share)
                state.execute("insert into alert_hour_counts values (?, ?, ?)", (checked, hour.isoformat(), known))
    with open_published(settings) as warehouse, open_alerts(settings) as state:
        arrivals = note_arrival(state, warehouse, moment=moment_of(TODAY, 9) + 2 * LATER)
    assert arrivals.delivered is not None
    assert arrivals.delivered[:3] == pytest.approx((0.5, 1.0, 1.0), abs=0.01)
    # so half of an hour is no alarm
    half = HourlyShop(days=TODAY + 3, quiet={hour_of(TODAY, 10): 0.5})
    assert not run(settings, half, TODAY, 11).new
