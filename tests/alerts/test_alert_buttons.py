"""The endpoint of Slack's buttons: what is signed is taken once, everything else is refused."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
from alert_warehouse import ShopDay, day, publish
from pydantic import SecretStr
from slack_server import CHANNEL_ID, TOKEN, SlackServer

from alerts.buttons import PATH, AnswerServer, UntrustedRequestError, serving, take_answer, verify_signature
from alerts.incidents.check import check_rules
from alerts.incidents.runs import report_task_failure
from alerts.messages.block_kit import BUTTONS
from foundation.settings import Settings
from foundation.state import open_state

CARTS = "20260810-cart_abandonment_rate-above"
TASK = "task-20260810-ga4_pipeline-publish"
MOMENT = dt.datetime(2026, 8, 10, 12, tzinfo=dt.UTC)
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


def make_body(action: str = "acknowledge", incident_id: str = TASK, user: str = "U012ABCDEF") -> bytes:
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "anna"},
        "actions": [{"action_id": action, "value": incident_id}],
        "trigger_id": "1.2.3",
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


def sign(body: bytes, timestamp: str, secret: str = SECRET) -> str:
    return "v0=" + hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()


def status_of(settings: Settings) -> str:
    with open_state(settings) as state:
        return str(state.execute("select status from alert_incidents").fetchone()[0])


@pytest.fixture
def settings(make_settings: Callable[..., Settings], slack: SlackServer) -> Settings:
    """Settings with buttons, and one incident in the channel: a failed task, which needs no chart."""
    settings = make_settings(
        slack_token=TOKEN, slack_channel=CHANNEL_ID, slack_base_url=slack.base_url, slack_signing_secret=SECRET
    )
    report_failure(settings, "first")
    return settings


def report_failure(settings: Settings, run_id: str) -> None:
    report_task_failure(
        settings,
        dag_id="ga4_pipeline",
        task_id="publish",
        run_id=run_id,
        try_number=3,
        error="disk full",
        log_url=None,
        as_of=MOMENT,
    )


@pytest.fixture
def server(settings: Settings) -> Iterator[AnswerServer]:
    with serving(settings) as server:
        yield server


def post(
    server: AnswerServer,
    body: bytes,
    *,
    timestamp: str | None = None,
    signature: str | None = None,
    path: str = PATH,
) -> int:
    timestamp = timestamp or str(int(time.time()))
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_address[1]}{path}",
        data=body,
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature if signature is not None else sign(body, timestamp),
        },
        method="POST",
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_signature_is_the_one_slack_documents() -> None:
    # https://docs.slack.dev/authentication/verifying-requests-from-slack : its own example
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    verify_signature(SecretStr(SECRET), timestamp="1531420618", body=body, signature=signature, now=1531420618.0)
    for now in (1531420618 - 301, 1531420618 + 301):
        with pytest.raises(UntrustedRequestError, match="five minutes"):
            verify_signature(SecretStr(SECRET), timestamp="1531420618", body=body, signature=signature, now=now)
    for wrong in (signature[:-1] + "4", "", "v0=", "v1" + signature[2:], "é"):
        with pytest.raises(UntrustedRequestError, match="does not match"):
            verify_signature(SecretStr(SECRET), timestamp="1531420618", body=body, signature=wrong, now=1531420618)


def test_a_button_acknowledges_in_the_thread_and_in_the_message(
    settings: Settings, server: AnswerServer, slack: SlackServer
) -> None:
    (parent,) = slack.parents()
    (actions,) = [block for block in parent["blocks"] if block["type"] == "actions"]
    assert [element["action_id"] for element in actions["elements"]] == [name for name, _, _ in BUTTONS]
    assert {element["value"] for element in actions["elements"]} == {TASK}
    assert post(server, make_body()) == 200
    assert status_of(settings) == "acknowledged"
    slack.wait_for("chat.postMessage", 2)
    slack.wait_for("chat.update")
    reply = slack.messages[-1]
    assert reply["thread_ts"] == parent["ts"] and reply["text"] == "👀 Acknowledged by <@U012ABCDEF>."
    assert parent["blocks"][0]["text"]["text"].startswith("👀")


def test_what_is_not_freshly_signed_is_refused_and_changes_nothing(settings: Settings, server: AnswerServer) -> None:
    body, now = make_body(), int(time.time())
    assert post(server, body, signature=sign(body, str(now), "another secret")) == 401
    assert post(server, body, signature="") == 401
    assert (
        post(server, body.replace(b"acknowledge", b"expected"), timestamp=str(now), signature=sign(body, str(now)))
        == 401
    )
    assert post(server, body, timestamp=str(now - 301)) == 401
    assert post(server, body, timestamp="soon") == 401
    assert status_of(settings) == "open"
    assert post(server, body, path="/elsewhere") == 404
    assert post(server, b"payload=%7B%7D") == 400 and post(server, b"\xff\xfe") == 400
    assert post(server, make_body("delete_everything")) == 400
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(str(host), port, timeout=10)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Length", "1000001")
    connection.endheaders()
    assert connection.getresponse().status == 413  # without reading a byte of it
    connection.close()
    assert status_of(settings) == "open"


def test_a_replayed_answer_is_refused(settings: Settings, server: AnswerServer) -> None:
    timestamp = str(int(time.time()))
    body = make_body("snooze_7")
    assert post(server, body, timestamp=timestamp) == 200
    assert status_of(settings) == "snoozed"
    with open_state(settings) as state:
        state.execute("update alert_incidents set status = 'open'")
    assert post(server, body, timestamp=timestamp) == 401
    assert status_of(settings) == "open"
    # An answer that could not be taken is not used up.
    assert post(server, make_body("nonsense"), timestamp=timestamp) == 400
    assert post(server, make_body("nonsense"), timestamp=timestamp) == 400


def test_an_answer_to_what_is_over_or_unknown_is_taken_quietly(settings: Settings) -> None:
    publish(settings, [ShopDay()] * 40 + [day(abandoned=180)])
    check_rules(settings, run_id="first")
    now = time.time()
    for body, said in (
        (make_body(incident_id="nothing"), "there is no incident 'nothing'"),
        (make_body("expected"), "a failed run cannot be marked as expected"),
        (make_body("snooze_1", CARTS), "until"),
        (make_body("expected", CARTS), "expected"),
        (make_body("acknowledge", CARTS), "is already over"),
    ):
        timestamp = str(int(now))
        done = take_answer(settings, timestamp=timestamp, body=body, signature=sign(body, timestamp), now=now)
        assert said in done
    with open_state(settings) as state:
        days = {row[0] for row in state.execute("select kpi_date from alert_expected_days")}
        statuses = dict(state.execute("select incident_id, status from alert_incidents").fetchall())
    assert days == {"2026-08-10"} and statuses == {TASK: "open", CARTS: "resolved"}


def test_without_a_signing_secret_there_are_no_buttons_and_no_answers(
    make_settings: Callable[..., Settings], settings: Settings, slack: SlackServer
) -> None:
    silent = make_settings(slack_token=TOKEN, slack_channel=CHANNEL_ID, slack_base_url=slack.base_url)
    report_failure(silent, "second")
    assert "actions" not in {block["type"] for block in slack.parents()[0]["blocks"]}
    body, timestamp = make_body(), str(int(time.time()))
    with pytest.raises(UntrustedRequestError, match="FUNNELHOUSE_SLACK_SIGNING_SECRET"):
        take_answer(silent, timestamp=timestamp, body=body, signature=sign(body, timestamp))


def test_odd_numbers_and_deep_json_are_refused_and_the_server_goes_on(
    settings: Settings, server: AnswerServer, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as raw:
        raw.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: ²\r\n\r\n".encode("latin-1"))
        assert raw.recv(1_000).startswith(b"HTTP/1.1 400 ")
    with pytest.raises(UntrustedRequestError, match="timestamp"):
        verify_signature(SecretStr(SECRET), timestamp="²", body=b"", signature="v0=x", now=0.0)
    assert post(server, urlencode({"payload": "[" * 100_000}).encode()) == 400
    assert post(server, make_body()) == 200 and status_of(settings) == "acknowledged"
    assert "Traceback" not in caplog.text
