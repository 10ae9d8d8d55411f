"""Says a week: how it went, what broke, what could be won, and whether the figures can be trusted."""

from __future__ import annotations

from alerts.messages.content import Content, Line, say_name
from alerts.messages.facts import WeekFacts, WeekIncident, WeekKpi
from alerts.text import cut, say_change, say_date, say_value

INCIDENTS_SHOWN = 5


def describe_week(facts: WeekFacts) -> Content:
    """The report's message."""
    first, last = facts.standing.first_seen_date, facts.standing.last_seen_date
    span = f"{say_date(first, with_year=False)} to {say_date(last, with_year=False)}"
    headline = f"📅 The week of {span}"
    verdict = _say_verdict(facts)
    lines = [Line(kpi.title, None, say_week_kpi(kpi)) for kpi in facts.kpis]
    lines += [_say_incident(each) for each in facts.incidents[:INCIDENTS_SHOWN]]
    if len(facts.incidents) > INCIDENTS_SHOWN:
        lines.append(Line("And", None, f"{len(facts.incidents) - INCIDENTS_SHOWN} more incidents"))
    if facts.opportunity is not None:
        lines.append(Line("Largest opportunity", None, facts.opportunity))
    lines += [Line("Data", None, text) for text in facts.quality]
    lines += [Line("Model", None, text) for text in facts.models]
    return Content(
        headline=headline,
        notification=f"{headline}: {verdict}",
        description=verdict,
        context="Usual: where nineteen of twenty such weeks lie · every Monday, unless FUNNELHOUSE_WEEKLY_REPORT=false",
        lines=lines,
    )


def say_week_kpi(kpi: WeekKpi) -> str:
    """`$41,233 (−4 % on the week before), usual $38,000 to $47,000`."""
    before = kpi.values[-2] if len(kpi.values) > 1 else None
    change = say_change(kpi.value, before) if kpi.value is not None and before is not None else ""
    text = say_value(kpi.value, kpi.unit) + (f" ({change} on the week before)" if change else "")
    if kpi.low is None or kpi.high is None or kpi.value is None:
        return f"{text}; what is usual is known after five weeks"
    usual = f"usual {say_value(kpi.low, kpi.unit)} to {say_value(kpi.high, kpi.unit)}"
    if not kpi.is_unusual:
        return f"{text}; {usual}"
    return f"⚠️ {text}; {'less' if kpi.value < kpi.low else 'more'} than usual, {usual}"


def _say_verdict(facts: WeekFacts) -> str:
    unusual = [kpi.title for kpi in facts.kpis if kpi.is_unusual]
    known = [kpi for kpi in facts.kpis if kpi.low is not None]
    parts = []
    if unusual:
        parts.append(f"Unusual: {cut(', '.join(unusual), 200)}.")
    elif known:
        parts.append("All KPIs were within their usual range.")
    if facts.incidents:
        lost = sum(each.lost_usd or 0.0 for each in facts.incidents)
        count = len(facts.incidents)
        cost = f", about ${lost:,.0f} lost" if lost > 0 else ""
        parts.append(f"{count} incident{'' if count == 1 else 's'}{cost}.")
    else:
        parts.append("No incident.")
    return " ".join(parts)


def _say_incident(each: WeekIncident) -> Line:
    when = say_date(each.first, with_year=False)
    if each.last != each.first:
        when += f" to {say_date(each.last, with_year=False)}"
    cost = ""
    if each.lost_usd is not None and each.lost_orders is not None and each.lost_usd > 0:
        cost = f", {each.lost_orders:,.0f} orders lost, about ${each.lost_usd:,.0f}"
    state = "over" if each.is_over else "still open"
    return Line("Incident", say_name(each.title, each.subject), f"{when}{cost}; {state}")
