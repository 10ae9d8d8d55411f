"""The channel that docs/extending.md adds works as it stands there, with nothing else touched."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydantic
import pytest
from alert_warehouse import ShopDay, date_of, day, publish
from conftest import BOUND_RULES

import alerts.channels
from alerts.channels.available import choose_channels, list_channels
from alerts.channels.errors import ChannelRejectedError, ChannelUnavailableError
from alerts.incidents.runs import report_success, report_task_failure
from alerts.incidents.sending import deliver_outbox
from alerts.job import check_and_send
from foundation import settings as settings_module
from foundation.settings import PROJECT_DIR, Settings

BLOCKS = re.findall(r"```python\n(.*?)```", (PROJECT_DIR / "docs/extending.md").read_text(encoding="utf-8"), re.DOTALL)
SETTING, MODULE = BLOCKS[:2]


class DiscordServer:
    """Keeps messages by id, and what was done to them; answers with the next of `answers`, if any."""

    def __init__(self) -> None:
        self.messages: dict[str, list[str]] = {}
        self.answers: list[int] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._take(str(len(server.messages) + 1))

            def do_PATCH(self) -> None:
                self._take(self.path.rsplit("/", 1)[1])

            def _take(self, message_id: str) -> None:
                body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = server.answers.pop(0) if server.answers else 200
                if status == 200:
                    assert len(body["content"]) <= 2_000 and body["allowed_mentions"] == {"parse": []}
                    server.messages.setdefault(message_id, []).append(body["content"])
                answer = json.dumps({"id": message_id}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/api/webhooks/1/secret-token"


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    server = DiscordServer()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, discord: DiscordServer) -> Settings:
    """Settings with the one line, and the one module among the channels."""
    (tmp_path / "channels").mkdir()
    (tmp_path / "channels" / "discord.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(alerts.channels, "__path__", [*alerts.channels.__path__, str(tmp_path / "channels")])
    names = {**vars(settings_module), **vars(pydantic)}
    exec(f"class Extended(Settings):\n    {SETTING}", names)  # noqa: S102
    extended: type[Settings] = names["Extended"]
    values: dict[str, Any] = {"home": tmp_path / "home", "property_timezone": "UTC", "alert_rules": BOUND_RULES}
    return extended(**values, discord_webhook_url=discord.url)


def check(settings: Settings, shop: list[ShopDay | None]) -> None:
    publish(settings, shop)
    moment = dt.datetime.combine(date_of(len(shop)), dt.time(12), tzinfo=dt.UTC)
    check_and_send(settings, run_id=f"run-{len(shop)}", as_of=moment)


def test_the_new_channel_is_found_and_tells_an_incident_from_its_beginning_to_its_end(
    settings: Settings, discord: DiscordServer
) -> None:
    assert [channel.name for channel in list_channels()] == ["slack", "discord", "email", "folder", "webhook"]
    assert [channel.name for channel in choose_channels(settings)] == ["slack", "discord"]
    shop: list[ShopDay | None] = [ShopDay()] * 40
    for next_day in (day(abandoned=180), day(abandoned=190), ShopDay()):
        shop = [*shop, next_day]
        check(settings, shop)
    own, second_day, end = discord.messages.values()
    assert [text.splitlines()[0] for text in own] == [
        "🔴 Cart abandonment rate: 90.0 % (+38 %) since Mon 10 Aug",
        "🔴 Cart abandonment rate: 95.0 % (+46 %) since Mon 10 Aug",
        "✅ Cart abandonment rate: 95.0 % (+46 %) Mon 10 Aug to Tue 11 Aug (2 days), normal again Wed 12 Aug",
    ]
    assert second_day[0].startswith("2 days now: 95.0 %") and end[0].startswith("✅ Cart abandonment rate is back")


def test_what_the_new_channel_refuses_stays_in_the_outbox_and_goes_out_later(
    settings: Settings, discord: DiscordServer
) -> None:
    discord.answers = [503, 401]
    with pytest.raises(ChannelUnavailableError, match="Discord is busy") as busy:
        report_task_failure(
            settings,
            dag_id="ga4_pipeline",
            task_id="publish",
            run_id="r",
            try_number=1,
            error="disk full",
            log_url=None,
        )
    with pytest.raises(ChannelRejectedError, match="FUNNELHOUSE_DISCORD_WEBHOOK_URL"):
        deliver_outbox(settings)
    assert "secret-token" not in str(busy.value)
    assert deliver_outbox(settings).sent == 1
    report_success(settings, dag_id="ga4_pipeline", run_id="r2", is_scheduled=False)
    discord.answers = [404]  # somebody has deleted the message
    assert deliver_outbox(settings).sent == 1
    assert [text for texts in discord.messages.values() for text in texts][-1].endswith("It lasted 1 day.")
