"""Messages fit Slack's limits whatever the data."""

from __future__ import annotations

import datetime as dt
import string
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from slack_server import find_block_problems

from alerts.drivers import Driver
from alerts.facts import ChartPoint, IncidentFacts, ResolutionFacts, TaskFailureFacts
from alerts.message import (
    ALT_TEXT_LIMIT,
    TEXT_LIMIT,
    cut,
    escape,
    escape_code,
    escape_name,
    measure,
    render_incident,
    render_resolution,
    render_task_failure,
    say_change,
    say_value,
)

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


def driver(unit: str) -> Any:
    del unit
    return st.builds(
        Driver, dimension=st.one_of(st.just("device_category"), odd_text), value=odd_text, observed=number,
        expected=number, excess=number, total_excess=number, volume=number,
    )  # fmt: skip


@st.composite
def incident_facts(draw: st.DrawFn) -> IncidentFacts:
    first, last = sorted([draw(iso_date), draw(iso_date)])
    column = st.text(alphabet=string.ascii_lowercase + "_", min_size=1, max_size=63)
    unit = draw(st.sampled_from(["share", "seconds", "usd", "count"]))
    return IncidentFacts(
        incident_id=draw(odd_text),
        title=draw(odd_text),
        description=draw(odd_text),
        kpi=draw(column),
        denominator=draw(st.one_of(st.none(), column)),
        unit=unit,
        numerator_label=draw(odd_text),
        direction=draw(st.sampled_from(["above", "below"])),
        severity=draw(st.sampled_from(["info", "warning", "critical"])),
        owner=draw(st.one_of(odd_text, st.sampled_from(["U12345678", "S12345678"]))),
        runbook=draw(link),
        first_seen_date=first,
        last_seen_date=last,
        resolved_date=draw(st.one_of(st.none(), iso_date)),
        incident_days=draw(st.integers(1, 400)),
        observed=draw(number),
        expected=draw(st.one_of(st.none(), number)),
        bound=draw(st.one_of(st.none(), number)),
        reason=draw(odd_text),
        volume=draw(number),
        baseline_days=draw(st.integers(0, 400)),
        trailing_days=28,
        run_id=draw(odd_text),
        complete_to=draw(iso_date),
        provisional_to=draw(st.one_of(st.none(), iso_date)),
        drivers=draw(st.lists(driver(unit), max_size=5)),
        points=[ChartPoint("2026-08-01", 1.0, None, None, True)],
    )


@settings(max_examples=100, deadline=None, database=None, phases=PHASES)
@given(incident_facts(), odd_text)
def test_an_incident_fits_whatever_its_names(facts: IncidentFacts, alt_text: str) -> None:
    message = render_incident(facts)
    assert find_block_problems(message.with_image("F0000000001", alt_text)) == []
    assert 0 < measure(message.text) <= TEXT_LIMIT
    assert message.plain.encode().decode() == message.plain and message.plain.count("\x1b") == 0
    assert len(message.plain) < 12_000


@settings(max_examples=150, deadline=None, database=None, phases=PHASES)
@given(
    st.builds(
        TaskFailureFacts,
        incident_id=odd_text,
        dag_id=odd_text,
        task_id=odd_text,
        run_id=odd_text,
        try_number=st.integers(),
        error=odd_text,
        log_url=st.one_of(st.none(), link),
        runbook=link,
    )
)
def test_a_task_failure_fits_whatever_its_error(facts: TaskFailureFacts) -> None:
    message = render_task_failure(facts)
    assert find_block_problems(message.blocks) == []
    assert 0 < measure(message.text) <= TEXT_LIMIT
    assert message.plain.encode().decode() == message.plain and message.plain.count("\x1b") == 0


@settings(max_examples=50, deadline=None, database=None, phases=PHASES)
@given(odd_text, number, iso_date, iso_date, iso_date)
def test_a_resolution_fits(title: str, value: float, first: str, last: str, resolved: str) -> None:
    facts = ResolutionFacts(title, title, "share", first, last, resolved, value, None)
    assert find_block_problems(render_resolution(facts).blocks) == []


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


def test_values_read_well() -> None:
    assert say_value(0.8241, "share") == "82.4 %"
    assert say_value(133.4, "seconds") == "133 s" and say_value(9.25, "seconds") == "9.2 s"
    assert say_value(1234.5, "usd") == "$1,234" and say_value(None, "usd") == "unknown"
    assert say_value(12345, "count") == "12,345"
    assert say_change(0.8, 0.64) == "+25 %" and say_change(65, 100) == "−35 %"
    assert say_change(1.0, None) == "" == say_change(1.0, 0.0)
