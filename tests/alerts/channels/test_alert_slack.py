"""Delivery over a real socket to a local Slack, with its faults."""

from __future__ import annotations

import datetime as dt
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alert_warehouse import ShopDay, day, publish
from pydantic import SecretStr
from slack_server import CHANNEL_ID, CHANNEL_NAME, TOKEN, Fault, SlackServer

from alerts.channels.errors import ChannelRejectedError, ChannelUnavailableError
from alerts.channels.slack import Slack
from alerts.channels.slack_api import SlackSender
from alerts.incidents.check import check_rules
from alerts.incidents.problems import RunProblem, record_problem
from alerts.incidents.runs import report_task_failure
from alerts.incidents.sending import deliver_outbox
from alerts.job import check_and_send
from alerts.state import open_alerts
from foundation.settings import Settings
from foundation.state import open_state

BAD = day(abandoned=180)
GOOD = ShopDay()


def quick_sender(slack: SlackServer, **overrides: Any) -> SlackSender:
    """A sender with short waits, where a test needs many of them."""
    values = {"backoff_seconds": 0.02, "timeout_seconds": 2, **overrides}
    return SlackSender(token=SecretStr(TOKEN), channel=CHANNEL_ID, base_url=slack.base_url, **values)


def quick_slack(slack: SlackServer, **overrides: Any) -> Slack:
    """The channel with short waits."""
    return Slack(quick_sender(slack, **overrides))


def queue_incident(settings: Settings) -> None:
    """One incident is decided and queued; nothing is sent."""
    publish(settings, [GOOD] * 40 + [BAD])
    check_rules(settings, run_id="first")


def queue_failure(settings: Settings) -> None:
    """A message without a chart is queued; nothing is sent."""
    problem = RunProblem(
        "task_failure",
        "ga4_pipeline",
        "publish",
        "r1",
        error="disk full",
        try_number=3,
        log_url="http://localhost:8080/log?a=1&b=2",
    )
    with open_alerts(settings) as state:
        record_problem(state, settings, problem, moment=dt.datetime.now(dt.UTC))


def report_in(state: sqlite3.Connection, settings: Settings, run_id: str) -> None:
    """The same task failed in another run; nothing is sent."""
    problem = RunProblem("task_failure", "ga4_pipeline", "publish", run_id, error="OSError: disk full")
    record_problem(state, settings, problem, moment=dt.datetime.now(dt.UTC))


def status_of(settings: Settings) -> list[str]:
    with open_state(settings) as state:
        return [row["status"] for row in state.execute("select status from alert_outbox order by outbox_id")]


def test_an_incident_is_posted_once_with_its_chart(slack_settings: Settings, slack: SlackServer) -> None:
    publish(slack_settings, [GOOD] * 40 + [BAD])
    report = check_and_send(slack_settings, run_id="first")
    assert (report.sent, report.rendered, report.pending) == (1, 0, 0)
    (message,) = slack.told()
    assert message["text"].startswith("🔴 Cart abandonment rate: 90.0 % (+38 %) since Mon 10 Aug. Expected 65.0 %.")
    # to be read on a phone: what, since when, what it costs, the chart
    assert [block["type"] for block in message["blocks"]] == ["header", "section", "section", "image", "context"]
    assert message["blocks"][0]["text"]["text"] == "🔴 Cart abandonment rate"
    assert message["blocks"][1]["text"]["text"] == "90.0 % (+38 %) since Mon 10 Aug; 65.0 % would be usual."
    (details,) = slack.details()
    assert details["thread_ts"] == message["ts"] and "Usual range" in str(details["blocks"])
    (file,) = slack.files.values()
    assert file["is_complete"] and file["content"].startswith(b"\x89PNG")
    assert message["blocks"][3]["slack_file"] == {"id": "F0000000001"}
    assert "20260810-cart_abandonment_rate-above" in message["blocks"][-1]["elements"][0]["text"]
    assert check_and_send(slack_settings, run_id="second").sent == 0
    assert len(slack.told()) == 1


def test_a_life_is_one_message_that_is_edited_and_a_thread(slack_settings: Settings, slack: SlackServer) -> None:
    shop = [GOOD] * 40
    for number, next_day in enumerate((BAD, day(abandoned=190), GOOD)):
        shop = [*shop, next_day]
        publish(slack_settings, shop)
        check_and_send(slack_settings, run_id=f"run-{number}")
    (parent,) = slack.parents()
    assert parent["edits"] == 2
    assert parent["blocks"][0]["text"]["text"] == "✅ Cart abandonment rate"
    assert parent["blocks"][1]["text"]["text"].startswith("95.0 % (+46 %) Mon 10 Aug to Tue")
    # the details say how it stands, too
    (details,) = slack.details()
    fields = {text["text"] for block in details["blocks"] for text in block.get("fields", [])}
    assert details["edits"] == 2 and "*Status*\nover" in fields
    assert any(text.startswith("*Observed on Tue 11 Aug 2026*\n95.0 %") for text in fields)
    replies = [message for message in slack.told() if "thread_ts" in message]
    assert [reply["thread_ts"] for reply in replies] == [parent["ts"]] * 2
    assert [reply["text"][:6] for reply in replies] == ["2 days", "✅ Cart"]
    assert len({block["slack_file"]["id"] for block in parent["blocks"] if block["type"] == "image"}) == 1
    # The same state again: nothing is edited.
    check_and_send(slack_settings, run_id="again")
    assert parent["edits"] == 2 and len(slack.told()) == 3


def test_a_message_that_somebody_deleted_is_not_written_again(slack_settings: Settings, slack: SlackServer) -> None:
    publish(slack_settings, [GOOD] * 40 + [BAD])
    check_and_send(slack_settings, run_id="first")
    slack.messages.clear()
    publish(slack_settings, [GOOD] * 40 + [BAD, GOOD])
    slack.inject("chat.postMessage", Fault("error", error="thread_not_found"))
    report = check_and_send(slack_settings, run_id="second")
    assert (report.sent, report.pending, slack.told()) == (0, 0, [])
    assert status_of(slack_settings) == ["sent", "dropped", "dropped"]


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("status", status=429, retry_after=1), Fault("reset")],
        [Fault("accepted_then_reset"), Fault("accepted_then_status", status=502), Fault("error", error="fatal_error")],
        [Fault("error", error="invalid_blocks")],
    ],
    ids=["limits", "lost_answers", "refused_layout"],
)
def test_an_edit_survives_faults(slack_settings: Settings, slack: SlackServer, faults: list[Fault]) -> None:
    queue_failure(slack_settings)
    deliver_outbox(slack_settings, instead=quick_slack(slack))
    with open_state(slack_settings) as state:
        report_in(state, slack_settings, "r2")
    slack.inject("chat.update", *faults)
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 2
    parent, reply = slack.told()
    assert "Times" in parent["text"] or parent["edits"] >= 1
    assert reply["text"].startswith("Again, in run r2 (2 times in all)")


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("status", status=429, retry_after=1)],
        [Fault("status", status=500), Fault("status", status=503)],
        [Fault("reset"), Fault("reset")],
        [Fault("slow", seconds=0.3)],
        [Fault("error", error="internal_error")],
        [Fault("accepted_then_reset")],
        [Fault("accepted_then_status", status=502)],
        [Fault("accepted_then_hang", seconds=2.5)],
        [Fault("reset"), Fault("status", status=500), Fault("accepted_then_reset")],
        [Fault("status", status=500)] * 4 + [Fault("accepted_then_reset")],
    ],
    ids=lambda faults: "+".join(fault.kind + (str(fault.status) if "status" in fault.kind else "") for fault in faults),
)
def test_a_fault_of_the_post_is_survived_without_a_second_copy(
    slack_settings: Settings, slack: SlackServer, faults: list[Fault]
) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", *faults)
    delivery = deliver_outbox(slack_settings, instead=quick_slack(slack))
    assert (delivery.sent, delivery.pending) == (1, 0)
    assert len(slack.told()) == 1


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"])
@pytest.mark.parametrize(
    "fault",
    [Fault("status", status=503), Fault("reset"), Fault("status", status=429, retry_after=0)],
    ids=lambda f: f.kind,
)
def test_a_fault_of_the_upload_is_survived(
    slack_settings: Settings, slack: SlackServer, method: str, fault: Fault
) -> None:
    slack.inject(method, fault)
    assert quick_sender(slack).upload_chart(_any_png(slack_settings), title="t") is not None
    assert len([file for file in slack.files.values() if file["is_complete"]]) == 1


def _any_png(settings: Settings) -> Path:
    settings.home.mkdir(parents=True, exist_ok=True)
    path = settings.home / "chart.png"
    path.write_bytes(b"\x89PNG")
    return path


def test_without_an_upload_the_message_goes_without_its_chart(
    slack_settings: Settings, slack: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    slack.scopes = frozenset({"chat:write"})
    queue_incident(slack_settings)
    assert deliver_outbox(slack_settings).sent == 1
    (message,) = slack.told()
    assert "image" not in {block["type"] for block in message["blocks"]}
    assert "could not be uploaded: HTTP 200, missing_scope" in caplog.text


def test_a_chart_that_needs_a_moment_is_waited_for(slack_settings: Settings, slack: SlackServer) -> None:
    slack.image_ready_after = 2
    queue_incident(slack_settings)
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 1
    assert "image" in {block["type"] for block in slack.messages[0]["blocks"]}
    assert len(slack.told()) == 1


def test_a_chart_that_is_never_accepted_goes_into_the_thread(slack_settings: Settings, slack: SlackServer) -> None:
    slack.image_ready_after = 1_000
    queue_incident(slack_settings)
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 1
    (message,) = slack.told()
    assert "image" not in {block["type"] for block in message["blocks"]}
    assert [file["thread_ts"] for file in slack.files.values()] == [None, message["ts"]]


def test_blocks_that_slack_refuses_give_way_to_plain_text(slack_settings: Settings, slack: SlackServer) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", Fault("error", error="invalid_blocks"))
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 1
    (message,) = slack.told()
    assert message["blocks"] == [] and "disk full" in message["text"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"slack_token": "xoxb-wrong"}, r"invalid_auth.*FUNNELHOUSE_SLACK_TOKEN"),
        ({"slack_channel": "C0000000000"}, r"channel_not_found.*FUNNELHOUSE_SLACK_CHANNEL.*/invite"),
        ({"slack_channel": None}, r"FUNNELHOUSE_SLACK_CHANNEL is not"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_configuration_says_what_to_do_and_loses_nothing(
    make_settings: Callable[..., Settings],
    slack_settings: Settings,
    slack: SlackServer,
    overrides: dict[str, Any],
    says: str,
) -> None:
    values = {"slack_token": TOKEN, "slack_channel": CHANNEL_ID, "slack_base_url": slack.base_url, **overrides}
    wrong = make_settings(**values)
    publish(wrong, [GOOD] * 40 + [BAD])
    with pytest.raises(ChannelRejectedError, match=says):
        check_and_send(wrong, run_id="first")
    assert status_of(wrong) == ["pending"] and slack.messages == []
    report = check_and_send(slack_settings, run_id="second")
    assert (report.checked_days, report.sent) == ([], 1)
    assert len(slack.told()) == 1


def test_a_slack_that_stays_away_is_said_and_tried_again_next_time(
    slack_settings: Settings, slack: SlackServer
) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", *[Fault("status", status=503)] * 3)
    with pytest.raises(
        ChannelUnavailableError, match=r"1 alert message\(s\) kept in the outbox.*3 attempts; last: HTTP 503"
    ):
        deliver_outbox(slack_settings, instead=quick_slack(slack, max_attempts=3))
    assert len(slack.calls_of("chat.postMessage")) == 3
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 1
    assert len(slack.told()) == 1


def test_a_long_rate_limit_does_not_hang_the_task(slack_settings: Settings, slack: SlackServer) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", Fault("status", status=429, retry_after=3600))
    with pytest.raises(ChannelUnavailableError, match="limits the rate"):
        deliver_outbox(slack_settings, instead=quick_slack(slack))
    assert status_of(slack_settings) == ["pending"]


def test_a_bad_message_does_not_hold_back_the_next(slack_settings: Settings, slack: SlackServer) -> None:
    publish(slack_settings, [GOOD] * 40 + [day(abandoned=180, duration=40.0)])
    check_rules(slack_settings, run_id="first")
    slack.scopes = frozenset({"chat:write"})
    slack.inject("chat.postMessage", *[Fault("status", status=500)] * 2)
    with pytest.raises(ChannelUnavailableError):
        deliver_outbox(slack_settings, instead=quick_slack(slack, max_attempts=2))
    assert status_of(slack_settings) == ["pending", "sent"]


def test_what_follows_waits_for_the_beginning(slack_settings: Settings, slack: SlackServer) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", *[Fault("status", status=500)] * 4)
    for expected in (["pending"], ["pending"] * 3):
        with pytest.raises(ChannelUnavailableError):
            deliver_outbox(slack_settings, instead=quick_slack(slack, max_attempts=2))
        with open_state(slack_settings) as state:
            report_in(state, slack_settings, "r2")
        assert status_of(slack_settings)[: len(expected)] == expected
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 3
    beginning, reply = slack.told()
    assert reply["thread_ts"] == beginning["ts"] and beginning["edits"] == 1


def test_a_look_into_the_channel_without_an_answer_posts_no_second_copy(
    slack_settings: Settings, slack: SlackServer
) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", Fault("accepted_then_reset"))
    slack.inject("conversations.history", *[Fault("status", status=503)] * 3)
    with pytest.raises(ChannelUnavailableError, match="no answer about the channel"):
        deliver_outbox(slack_settings, instead=quick_slack(slack, max_attempts=3))
    assert len(slack.told()) == 1 and status_of(slack_settings) == ["pending"]
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 1
    assert len(slack.told()) == 1


def test_a_token_that_may_not_read_the_channel_delivers_at_least_once(
    slack_settings: Settings, slack: SlackServer
) -> None:
    slack.scopes = frozenset({"chat:write"})
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", Fault("accepted_then_reset"))
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 1
    assert len(slack.told()) == 2


def test_a_channel_may_be_given_by_name(make_settings: Callable[..., Settings], slack: SlackServer) -> None:
    named = make_settings(slack_token=TOKEN, slack_channel=f"#{CHANNEL_NAME}", slack_base_url=slack.base_url)
    queue_failure(named)
    slack.inject("chat.postMessage", Fault("accepted_then_reset"))
    assert deliver_outbox(named).sent == 1
    assert len(slack.told()) == 1


def test_an_earlier_copy_is_found_behind_many_other_messages(slack_settings: Settings, slack: SlackServer) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", Fault("accepted_then_reset"))
    with pytest.raises(ChannelUnavailableError):
        # The answer is lost, and so is every look into the channel: the row stays, with an attempt noted.
        slack.inject("conversations.history", *[Fault("reset")] * 2)
        deliver_outbox(slack_settings, instead=quick_slack(slack, max_attempts=1))
    for number in range(450):
        slack.handle("chat.postMessage", {"channel": CHANNEL_ID, "text": f"chatter {number}"})
    assert deliver_outbox(slack_settings, instead=quick_slack(slack)).sent == 1
    assert len(slack.told()) == 451


def test_two_deliverers_at_once_send_each_message_once(slack_settings: Settings, slack: SlackServer) -> None:
    queue_failure(slack_settings)
    slack.inject("chat.postMessage", Fault("slow", seconds=0.5))
    deliveries: list[int] = []

    def run() -> None:
        deliveries.append(deliver_outbox(slack_settings).sent)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(deliveries) == [0, 0, 1]
    assert len(slack.told()) == 1


def test_without_a_token_messages_are_rendered_and_a_later_token_does_not_flood(
    settings: Settings, slack_settings: Settings, slack: SlackServer
) -> None:
    publish(settings, [GOOD] * 40 + [BAD])
    assert check_and_send(settings, run_id="first").rendered == 1
    publish(settings, [GOOD] * 40 + [BAD, GOOD])
    report = check_and_send(slack_settings, run_id="second")
    # The end of an incident that Slack never heard of is rendered too.
    assert (report.sent, report.rendered) == (0, 2)
    assert slack.messages == [] and status_of(settings) == ["rendered"] * 3
    folder = settings.alerts_dir / "20260810-cart_abandonment_rate-above"
    assert [path.read_text()[:6] for path in folder.glob("reply-*-resolved.txt")] == ["✅ Cart"]


@pytest.mark.parametrize("token", [TOKEN, "not-of-the-usual-form-0123456789"])
def test_secrets_are_in_no_file_log_or_message(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture, token: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with SlackServer(token=token) as slack:
        settings = make_settings(slack_token=token, slack_channel=CHANNEL_ID, slack_base_url=slack.base_url)
        publish(settings, [GOOD] * 40 + [BAD])
        slack.inject("chat.postMessage", Fault("reset"), Fault("status", status=500))
        check_and_send(settings, run_id="first")
        slack.inject("chat.postMessage", Fault("error", error="invalid_auth"))
        long = "x" * 1_450
        with pytest.raises(ChannelRejectedError) as caught:
            report_task_failure(
                settings,
                dag_id="d",
                task_id="t",
                run_id="r",
                try_number=1,
                error=(
                    f"token {token}{long} password=hunter2hunter2 "
                    "postgresql://me:hunter2hunter2@db/x xapp-1-A0B-hunter2hunter2"
                ),
                log_url=f"http://localhost/?t={token}",
            )
        deliver_outbox(settings)
        said = caplog.text + str(caught.value) + repr(settings)
        said += repr(slack.messages) + repr([call.params for call in slack.calls])
    for path in settings.home.rglob("*"):
        if path.is_file():
            said += path.read_bytes().decode("latin-1")
    assert "chart.png" in said and len(slack.told()) == 2
    for secret in (token, token[-12:], "hunter2"):
        assert secret not in said


def test_details_that_a_kill_has_cut_off_come_with_the_next_run(slack_settings: Settings, slack: SlackServer) -> None:
    publish(slack_settings, [GOOD] * 40 + [BAD])
    check_and_send(slack_settings, run_id="first")
    # the message stood in the channel, its details did not, and nobody had noted either
    slack.messages.remove(slack.details()[0])
    for again in range(2):
        with open_state(slack_settings) as state:
            state.execute("update alert_outbox set status = 'pending', attempts = 1 where kind = 'parent'")
        deliver_outbox(slack_settings, instead=quick_slack(slack))
        assert (len(slack.parents()), len(slack.details())) == (1, 1), again
