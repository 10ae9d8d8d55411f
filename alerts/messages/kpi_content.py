"""Says what happened to something that is watched: a KPI, the data, a model."""

from __future__ import annotations

import datetime as dt
import re

from alerts.detection.causes import Driver
from alerts.detection.impact import Impact
from alerts.detection.panel import DAILY_TABLE, DIMENSION_TABLE
from alerts.detection.session_splits import SESSION_DIMENSIONS, STEPS_TABLE
from alerts.detection.verdicts import Hours
from alerts.messages.content import (
    Content,
    Line,
    choose_sign,
    list_people,
    say_amount,
    say_duration,
    say_name,
    say_span,
    say_status,
)
from alerts.messages.facts import EventFacts, KpiFacts, Member
from alerts.text import cut, say_date, say_days, say_hour, say_value

# From so many rules with one cause on the message is a digest of them; two are one's message that mentions the other.
DIGEST_SIZE = 3
DRIVERS_SHOWN = 3
MEMBERS_SHOWN = 6
LINKS_SHOWN = 3


def describe_kpi(facts: KpiFacts) -> Content:
    """The incident's own message."""
    drivers = facts.causes.drivers[:DRIVERS_SHOWN] if facts.causes is not None else []
    lines = [_say_driver_line(driver, facts) for driver in drivers]
    others = sorted({member.title for member in facts.members} - {facts.title})
    headline = _say_headline(facts, 1 + len(others))
    notification = f"{headline}. Expected {say_value(facts.figures.expected, facts.unit)}."
    if drivers:
        notification += f" {lines[0].label}: {cut(drivers[0].value, 60)}."
    if others:
        notification += f" Also: {cut(', '.join(others), 200)}."
    if (mix := _say_mix(facts)) is not None:
        lines.append(mix)
    lines += [_say_member(member) for member in facts.members[:MEMBERS_SHOWN]]
    if len(facts.members) > MEMBERS_SHOWN:
        lines.append(Line("And", None, f"{len(facts.members) - MEMBERS_SHOWN} more with this cause"))
    return Content(
        headline=headline,
        notification=notification,
        context=_say_context(facts),
        description=facts.description,
        fields=_list_fields(facts),
        lines=lines,
        owner=facts.owner,
        runbook=facts.runbook,
        links=list(facts.links.items())[:LINKS_SHOWN],
        sql=explore_sql(facts) if facts.kind == "kpi" else None,
        people=list_people(facts.standing),
    )


def describe_briefly(facts: KpiFacts) -> Content:
    """What is read in five seconds: what, since when, for whom, what it has cost, and why, where that is known."""
    full = describe_kpi(facts)
    lines = []
    if facts.causes is not None and facts.causes.impact is not None:
        lines.append(Line("Lost" if facts.standing.is_over else "Lost so far", None, _say_cost(facts.causes.impact)))
    drivers = facts.causes.drivers if facts.causes is not None else []
    if drivers and drivers[0].is_significant:
        driver = drivers[0]
        seen, usual = (
            say_value(value, "share" if driver.kind == "mix" else facts.unit)
            for value in (driver.observed, driver.expected)
        )
        dimension = driver.dimension.replace("_category", "").replace("_", " ")
        lines.append(Line(f"Mostly {cut(dimension, 40)}", driver.value, f"{seen}, usually {usual}"))
    others = sorted({member.title for member in facts.members} - {facts.title})
    if others:
        lines.append(Line("Also", None, cut(", ".join(others), 150)))
    status = say_status(facts.standing)
    if status not in ("open", "over"):
        lines.append(Line("Status", None, status))
    return Content(
        headline=_say_header(facts, 1 + len(others)),
        notification=full.notification,
        context=f"Details in the thread · {facts.incident_id}",
        description=_say_sentence(facts),
        lines=lines,
        owner=facts.owner,
        people=full.people,
    )


def _say_sentence(facts: KpiFacts) -> str:
    """What came and since when, and what would be usual."""
    if facts.hours is not None and facts.hours.decides:
        return f"{say_hours_so_far(facts, facts.hours)} {_say_when(facts)}."
    amount = say_amount(facts.figures.observed, facts.figures.expected, facts.unit)
    return f"{amount} {_say_when(facts)}; {say_value(facts.figures.expected, facts.unit)} would be usual."


def _say_cost(impact: Impact) -> str:
    """Orders and revenue, each with its interval, in a line."""
    gains = impact.lost_orders < 0
    sign = -1 if gains else 1
    low, high = sorted([impact.lost_orders_low * sign, impact.lost_orders_high * sign])
    orders, usd = impact.lost_orders * sign, impact.lost_revenue_usd * sign
    text = f"{orders:,.0f} orders{' more than usual' if gains else ''} ({low:,.0f} to {high:,.0f}), about ${usd:,.0f}"
    return text.replace("-", "−")


def say_kpi_event(news: EventFacts, facts: KpiFacts) -> str | None:
    """A change in the incident's life; None for one that is said alike of every incident."""
    event = news.event
    standing, figures = facts.standing, facts.figures
    name = say_name(facts.title, facts.dimension_value)
    amount = say_amount(figures.observed, figures.expected, facts.unit)
    if facts.hours is not None and facts.hours.decides:
        amount = say_hours_so_far(facts, facts.hours)
    expected = say_value(figures.expected, facts.unit)
    if event == "updated":
        days = say_days(standing.incident_days)
        return f"{days} now: {amount} on {say_date(standing.last_seen_date)}, expected {expected}"
    if event == "resolved" and news.detail:
        # a missing day is told by its own date: how long it lasted says nothing
        has_hours = facts.hours is not None and facts.hours.until is not None
        duration = "" if facts.kind == "data_missing" or has_hours else f" {say_duration(standing)}"
        return f"{name} is over: {news.detail}.{duration}"
    if event == "resolved" and standing.resolved_date is not None:
        return (
            f"{name} is back to normal on {say_date(standing.resolved_date)}: {say_value(news.observed, facts.unit)}, "
            f"expected {expected}. {say_duration(standing)}"
        )
    return {
        "resolved": f"{name} is closed: {figures.reason}. {say_duration(standing)}",
        "withdrawn": f"{name}: withdrawn, its days no longer breach (their data or the rule changed).",
        "expected": name,
        "confirmed": f"{name} is confirmed: {news.detail}: {amount}.",
        "woken": f"The snooze is over, and {name} is still {amount}.",
        "escalated": name,
        "reopened": f"It is back: {name} {amount} on {say_date(standing.last_seen_date)}",
    }.get(event)


def _say_headline(facts: KpiFacts, kinds: int) -> str:
    """`kinds` is the number of rules that the incident speaks for."""
    amount = say_amount(facts.figures.observed, facts.figures.expected, facts.unit)
    if facts.hours is not None and facts.hours.decides:
        amount = say_hours_so_far(facts, facts.hours)
    colon = ":" if kinds < DIGEST_SIZE else ""
    return f"{_say_header(facts, kinds)}{colon} {amount} {_say_when(facts)}"


def _say_header(facts: KpiFacts, kinds: int) -> str:
    name = say_name(facts.title, facts.dimension_value)
    if kinds < DIGEST_SIZE:
        return f"{choose_sign(facts)} {name}"
    driver = f" ({cut(facts.cause.partition('=')[2], 30)})" if facts.cause else ""
    return f"{choose_sign(facts)} {kinds} alerts, one cause{driver}: {name}"


def _say_when(facts: KpiFacts) -> str:
    """`since Mon 3 Aug`, `since Mon 3 Aug, 14:00`, or from when to when."""
    standing, hours = facts.standing, facts.hours
    if standing.is_over and facts.began is not None and hours is not None and hours.until is not None:
        until = say_hour(hours.until, with_date=hours.until[:10] != facts.began[:10])
        return f"from {say_hour(facts.began, with_date=True)} to {until}"
    if standing.is_over:
        when = f"{'on ' if standing.incident_days == 1 else ''}{say_span(standing)}"
        if standing.resolved_date:
            when += f", normal again {say_date(standing.resolved_date, with_year=False)}"
        return when
    if facts.began is not None:
        return f"since {say_hour(facts.began, with_date=True)}"
    return f"since {say_date(standing.first_seen_date, with_year=False)}"


def say_hours_so_far(facts: KpiFacts, hours: Hours) -> str:
    """What came of the incident's hours of its last day: `0 of 31 carts bought, 10.2 expected`."""
    unit = "usd" if facts.unit == "usd" else "count"
    came, expected = say_value(hours.came, unit), say_value(hours.expected, unit)
    if hours.begun is None:
        return f"{came}, {expected} expected"
    of = (facts.denominator or "").replace("sessions_with_", "").replace("add_to_cart", "carts")
    of = of.replace("begin_checkout", "checkouts").replace("_", " ")
    return f"{came} of {say_value(hours.begun, 'count')} {of} bought, {expected} expected"


def _list_fields(facts: KpiFacts) -> list[tuple[str, str]]:
    figures, standing = facts.figures, facts.standing
    period = "" if facts.period_days == 1 else f" ({facts.period_days} days up to then)"
    is_z_said = figures.z is None or "standard deviations" in figures.reason
    status = say_status(standing)
    if standing.is_over and standing.resolved_date is None:
        status = f"over ({figures.reason})"
    seen = []
    if facts.hours is not None and facts.hours.decides:
        seen.append((f"By {say_hour(facts.hours.seen_until, with_date=True)}", say_hours_so_far(facts, facts.hours)))
    fields = [
        *seen,
        (
            f"Observed on {say_date(standing.last_seen_date)}{period}",
            say_amount(figures.observed, figures.expected, facts.unit),
        ),
        ("Expected", say_value(figures.expected, facts.unit)),
        *([] if seen else [("Usual range", _say_band(facts))]),
        ("When", say_span(standing)),
        ("Reason", figures.reason if is_z_said else f"{figures.reason}, {_say_distance(figures.z)}"),
        ("Status", status),
    ]
    if figures.volume is not None and facts.denominator:
        fields.append(("Volume", f"{say_value(figures.volume, 'count')} {facts.denominator.replace('_', ' ')}"))
    if facts.causes is not None and facts.causes.impact is not None:
        fields.append(("Estimated cost so far", _say_impact(facts.causes.impact)))
    return fields


def _say_distance(z: float | None) -> str:
    return f"{abs(z or 0.0):,.1f} standard deviations off"


def _say_context(facts: KpiFacts) -> str:
    text = f"Incident {facts.incident_id} · run {facts.run_id}"
    if facts.complete_to:
        text += f" · data complete to {facts.complete_to}"
    if facts.provisional_to:
        text += f", provisional to {facts.provisional_to}"
    return text


def _say_band(facts: KpiFacts) -> str:
    edges = (facts.figures.band_low, facts.figures.band_high)
    low, high = (None if edge is None else say_value(edge, facts.unit) for edge in edges)
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"from {low}"
    return f"up to {high}" if high is not None else "unknown"


def _say_impact(impact: Impact) -> str:
    gains = impact.lost_orders < 0
    sign = -1 if gains else 1
    orders, usd = impact.lost_orders * sign, impact.lost_revenue_usd * sign
    order_ends = sorted([impact.lost_orders_low * sign, impact.lost_orders_high * sign])
    usd_ends = sorted([impact.lost_revenue_usd_low * sign, impact.lost_revenue_usd_high * sign])
    return (
        f"{orders:,.0f} orders {'more' if gains else 'lost'} ({order_ends[0]:,.0f} to {order_ends[1]:,.0f}), "
        f"${usd:,.0f} (${usd_ends[0]:,.0f} to ${usd_ends[1]:,.0f}); 95 % intervals"
    ).replace("-", "−")


def _say_driver_line(driver: Driver, facts: KpiFacts) -> Line:
    label = f"Driven by {cut(driver.dimension.replace('_category', '').replace('_', ' '), 40)}"
    return Line(label, driver.value, _say_driver(driver, facts))


def _say_driver(driver: Driver, facts: KpiFacts) -> str:
    if driver.kind == "mix":
        text = f"{say_value(driver.observed, 'share')} of the sessions, usually {say_value(driver.expected, 'share')}"
    else:
        text = f"{say_value(driver.observed, facts.unit)}, usually {say_value(driver.expected, facts.unit)}"
    if facts.unit == "share":
        text += f": {driver.excess:+,.0f} {facts.numerator_label}, of {driver.total_excess:+,.0f} in all"
    else:
        excess, total = (_say_signed(value, facts.unit) for value in (driver.excess, driver.total_excess))
        text += f": {excess} of {total}"
    if driver.is_significant:
        return f"{text} (p {'< 0.001' if driver.p_adjusted < 0.001 else f'= {driver.p_adjusted:.3f}'})"
    return f"{text} (may be chance)"


def _say_signed(value: float, unit: str) -> str:
    return f"{'+' if value >= 0 else '−'}{say_value(abs(value), unit)}"


def _say_mix(facts: KpiFacts) -> Line | None:
    causes = facts.causes
    if causes is None or causes.mix_effect is None or causes.rate_effect is None:
        return None
    if facts.unit == "share":
        rate, mix = (f"{effect * 100:+,.1f} points" for effect in (causes.rate_effect, causes.mix_effect))
    else:
        rate, mix = (_say_signed(effect, facts.unit) for effect in (causes.rate_effect, causes.mix_effect))
    return Line("Of the change", None, f"{rate} within the values, {mix} from their mix")


def _say_member(member: Member) -> Line:
    over = ", over" if member.status == "resolved" else ""
    amount = say_amount(member.observed, member.expected, member.unit)
    return Line("Same cause", say_name(member.title, member.subject), f"{amount}{over}")


def explore_sql(facts: KpiFacts) -> str:
    """A query for `make sql` that shows the incident's days and the two weeks before, by the driving dimension."""
    start = dt.date.fromisoformat(facts.standing.first_seen_date) - dt.timedelta(days=14)
    columns = ", ".join(dict.fromkeys([facts.kpi, *([facts.denominator] if facts.denominator else [])]))
    span = f"kpi_date between date '{start}' and date '{facts.standing.last_seen_date}'"
    dimension = facts.dimension or (
        facts.causes.drivers[0].dimension if facts.causes and facts.causes.drivers else None
    )
    # Values come from the data and would have to survive make, the shell and SQL: the query names only the dimension.
    if dimension in SESSION_DIMENSIONS:
        days = span.replace("kpi_date", "session_date")
        return (
            f"select session_date, {dimension}, count(cart_at) as carts, count(checkout_at) as checkouts,\n"
            f"  count(purchased_at) as bought\nfrom {STEPS_TABLE}\nwhere {days}\ngroup by all\norder by all"
        )
    if dimension is not None and re.fullmatch(r"[a-z][a-z0-9_]{0,62}", dimension):
        return (
            f"select kpi_date, dimension_value, {columns}\nfrom {DIMENSION_TABLE}\n"
            f"where dimension = '{dimension}' and {span}\norder by dimension_value, kpi_date"
        )
    return f"select kpi_date, is_provisional, {columns}\nfrom {DAILY_TABLE}\nwhere {span}\norder by kpi_date"
