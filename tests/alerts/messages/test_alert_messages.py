"""Messages fit Slack's limits whatever the data."""

from __future__ import annotations

import datetime as dt
import json
import string

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from slack_server import find_block_problems

from alerts.detection.causes import Causes, Driver
from alerts.detection.impact import Impact
from alerts.detection.verdicts import Figures
from alerts.messages.block_kit import ALT_TEXT_LIMIT, TEXT_LIMIT, render_event, render_incident
from alerts.messages.describing import describe_incident
from alerts.messages.facts import (
    RUN_KINDS,
    ChartPoint,
    EventFacts,
    KpiFacts,
    Member,
    RunFacts,
    Standing,
    event_from_json_values,
    event_to_json_values,
    from_json_values,
    to_json_values,
)
from alerts.messages.kpi_content import explore_sql
from alerts.messages.page import render_page
from alerts.messages.plain import as_make_command
from alerts.text import cut, escape, escape_code, escape_name, measure, say_change, say_value

# Shrinking these large facts takes minutes; the first counterexample says enough.
PHASES = (Phase.explicit, Phase.generate)

odd_text = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="&<>*_~`|!@#:\n\t\\\"'\u202e\u0000😀é漢", max_size=400),
    st.sampled_from(["<!channel>", "<@U12345678>", "`" * 500, "&" * 2_500, "😀" * 2_000, "x" * 5_000, " ", "\ud800"]),
)
number = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
iso_date = st.dates(min_value=dt.date(2000, 1, 1)).map(lambda date: date.isoformat())
link = st.one_of(odd_text, odd_text.map(lambda text: f"https://example.org/{text}"))


drivers = st.builds(
    Driver,
    dimension=st.one_of(st.just("device_category"), odd_text),
    value=odd_text,
    observed=number,
    expected=number,
    excess=number,
    total_excess=number,
    share_of_excess=number,
    volume=number,
    p_value=st.floats(0, 1),
    p_adjusted=st.floats(0, 1),
    kind=st.sampled_from(["rate", "mix"]),
    z=number,
    is_significant=st.booleans(),
)
causes = st.builds(
    Causes,
    drivers=st.lists(drivers, max_size=5),
    mix_effect=st.one_of(st.none(), number),
    rate_effect=st.one_of(st.none(), number),
    impact=st.one_of(st.none(), st.builds(Impact, number, number, number, number, number, number)),
)
members = st.builds(
    Member,
    incident_id=odd_text,
    title=odd_text,
    subject=st.one_of(st.none(), odd_text),
    unit=st.sampled_from(["share", "count"]),
    status=st.sampled_from(["open", "resolved"]),
    observed=st.one_of(st.none(), number),
    expected=st.one_of(st.none(), number),
)


maybe_number, maybe_text, maybe_date = (st.one_of(st.none(), each) for each in (number, odd_text, iso_date))
column = st.text(alphabet=string.ascii_lowercase + "_", min_size=1, max_size=63)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    first, last = sorted([draw(iso_date), draw(iso_date)])
    return Standing(
        status=draw(st.sampled_from(["open", "acknowledged", "snoozed", "resolved"])),
        first_seen_date=first,
        last_seen_date=last,
        resolved_date=draw(maybe_date),
        incident_days=draw(st.integers(1, 400)),
        acknowledged_by=draw(maybe_text),
        snoozed_until=draw(maybe_date),
        is_escalated=draw(st.booleans()),
        continues_in=draw(maybe_text),
    )


common = {
    "incident_id": odd_text,
    "title": odd_text,
    "severity": st.sampled_from(["info", "warning", "critical"]),
    "owner": st.one_of(odd_text, st.sampled_from(["U12345678", "S12345678"])),
    "runbook": link,
    "run_id": odd_text,
    "standing": standings(),
}
kpi_facts = st.builds(
    KpiFacts,
    **common,
    kind=st.sampled_from(["kpi", "data_late"]),
    rule=column,
    description=odd_text,
    kpi=column,
    dimension=st.one_of(st.none(), column),
    dimension_value=maybe_text,
    denominator=st.one_of(st.none(), column),
    unit=st.sampled_from(["share", "seconds", "usd", "count", "hours", "score"]),
    numerator_label=odd_text,
    direction=st.sampled_from(["above", "below"]),
    links=st.dictionaries(odd_text, link, max_size=5),
    period_days=st.sampled_from([1, 7]),
    baseline_days=st.integers(0, 400),
    figures=st.builds(Figures, *([maybe_number] * 6), odd_text),
    complete_to=maybe_date,
    provisional_to=maybe_date,
    cause=maybe_text,
    causes=st.one_of(st.none(), causes),
    members=st.lists(members, max_size=9),
    points=st.just([ChartPoint("2026-08-01", 1.0, None, None, None, True)]),
)
run_facts = st.builds(
    RunFacts,
    **common,
    kind=st.sampled_from(RUN_KINDS),
    subject=odd_text,
    part=maybe_text,
    error=odd_text,
    log_url=st.one_of(st.none(), link),
    try_number=st.one_of(st.none(), st.integers()),
)
incident_facts = st.one_of(kpi_facts, run_facts)


@settings(max_examples=35, deadline=None, database=None, phases=PHASES)
@given(incident_facts, odd_text, st.booleans())
def test_an_incident_fits_whatever_its_names(facts: KpiFacts | RunFacts, alt_text: str, with_buttons: bool) -> None:
    message = render_incident(facts, with_buttons=with_buttons)
    assert find_block_problems(message.with_image("F0000000001", alt_text)) == []
    assert 0 < measure(message.text) <= TEXT_LIMIT
    assert message.plain.encode().decode() == message.plain and message.plain.count("\x1b") == 0
    assert len(message.plain) < 16_000
    assert from_json_values(to_json_values(facts)) == facts
    page = render_page(describe_incident(facts), chart_src="chart.png", news=None)
    assert page.encode().decode() == page and page.count("<script") == 0


@settings(max_examples=25, deadline=None, database=None, phases=PHASES)
@given(
    st.sampled_from(
        ["updated", "resolved", "reopened", "woken", "escalated", "snoozed", "expected", "withdrawn", "joined", "x"]
    ),
    odd_text,
    odd_text,
    st.one_of(st.none(), st.sampled_from(["U12345678", "the team"])),
    st.one_of(st.none(), number),
    incident_facts,
)
def test_a_reply_fits(
    event: str, by: str, detail: str, mention: str | None, observed: float | None, facts: KpiFacts | RunFacts
) -> None:
    told = EventFacts(event, by, detail, mention, observed, facts)
    message = render_event(told)
    assert find_block_problems(message.blocks) == []
    assert 0 < measure(message.text) <= TEXT_LIMIT
    assert event_from_json_values(event_to_json_values(told)).facts.incident_id == facts.incident_id


@settings(max_examples=15, deadline=None, database=None, phases=PHASES)
@given(kpi_facts)
def test_the_query_survives_make_shell_and_sql(facts: KpiFacts) -> None:
    command = as_make_command(explore_sql(facts))
    inside = command.removeprefix('make sql Q="').removesuffix('"')
    assert not set('"$`\\\n#') & set(inside)


@settings(max_examples=200, deadline=None, database=None, phases=PHASES)
@given(odd_text, st.integers(10, 200))
def test_cutting_keeps_the_limit_and_no_half_entity(text: str, limit: int) -> None:
    for done in (escape(text, limit), escape_name(text, limit), escape_code(text, limit)):
        assert measure(done) <= limit
        bare = done.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert not set("&<>") & set(bare)
    assert measure(cut(text, limit)) <= min(limit, ALT_TEXT_LIMIT)


def test_markup_in_a_name_is_shown_and_not_obeyed() -> None:
    assert escape("<!channel> & co") == "&lt;!channel&gt; &amp; co"
    assert escape_name("*a*") == "*\u200ba*\u200b"
    assert escape("a\nb\tc") == "a b c"
    assert escape("") == "(empty)"
    assert escape("a&b", 6) == "a…" and escape("a&b", 7) == "a&amp;b"


def test_only_who_has_answered_is_called() -> None:
    facts = RunFacts(
        incident_id="i",
        kind="task_failure",
        title="t",
        severity="critical",
        owner="o",
        runbook="r",
        run_id="by U0123456789",
        standing=Standing("acknowledged", "2026-08-10", "2026-08-10", 1, acknowledged_by="U0000000001"),
        subject="d",
        part="by U0123456789",
        error="by U0123456789",
    )
    said = json.dumps(render_incident(facts).blocks)
    assert "acknowledged by <@U0000000001>" in said and "<@U0123456789>" not in said
    for event, by in (("acknowledged", "U0000000002"), ("joined", "run-1"), ("escalated", "run-1")):
        reply = render_event(EventFacts(event, by, "by U0123456789", None, None, facts))
        assert ("<@U0000000002>" in reply.text) == (event == "acknowledged")
        assert "<@U0123456789>" not in reply.text + json.dumps(reply.blocks)


def test_values_read_well() -> None:
    assert say_value(0.8241, "share") == "82.4 %"
    assert say_value(133.4, "seconds") == "133 s" and say_value(9.25, "seconds") == "9.2 s"
    assert say_value(1234.5, "usd") == "$1,234" and say_value(None, "usd") == "unknown"
    assert say_value(12345, "count") == "12,345"
    assert say_change(0.8, 0.64) == "+25 %" and say_change(65, 100) == "−35 %"
    assert say_change(1.0, None) == "" == say_change(1.0, 0.0)
