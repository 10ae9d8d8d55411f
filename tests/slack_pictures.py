"""Draws what Slack shows on a phone while an incident lives: `python -m tests.slack_pictures docs/images`.

A simulated shop breaks on mobile at 10:00 and is mended at 16:00; each hour is checked as the pipeline does it, and the
messages are those that a local Slack got.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "alerts"), str(HERE.parent)]

from chromium import BROWSER
from hourly_shop import HourlyShop, hour_of, moment_of
from slack_server import CHANNEL_ID, TOKEN, SlackServer

from alerts.incidents.check import check_rules
from alerts.incidents.sending import deliver_outbox
from foundation.settings import Settings

WIDTH = 390
TODAY = 42
BROKEN, MENDED = 10, 16
LATER = dt.timedelta(minutes=5)
_STYLE = """
body { margin: 0; font: 15px/1.46 Lato, "Noto Sans", "DejaVu Sans", sans-serif; color: #1d1c1d; background: #fff }
.bar { padding: 12px 16px; border-bottom: 1px solid #ddd; font-weight: 700; font-size: 17px }
.bar small { float: right; font-weight: 400; color: #616061; font-size: 13px; padding-top: 3px }
.message { padding: 12px 16px 4px 16px } .reply { margin-left: 20px; border-left: 3px solid #ddd }
.who { font-weight: 700; margin-bottom: 4px } .who small { font-weight: 400; color: #616061; margin-left: 6px }
.who b { background: #1f4e79; color: #fff; border-radius: 6px; padding: 2px 6px; margin-right: 8px }
.header { font-size: 18px; font-weight: 700; margin: 4px 0 } .section { margin: 6px 0; white-space: pre-wrap }
.context { color: #616061; font-size: 12px; margin: 6px 0 }
img { width: 100%; border: 1px solid #ddd; border-radius: 8px }
button { font: inherit; background: #fff; border: 1px solid #bbb; border-radius: 4px; padding: 5px 10px; margin: 3px }
.count { padding: 4px 16px; color: #1264a3; font-weight: 700 }
.emoji { display: inline-block; width: 14px; height: 14px; margin-right: 2px }
code { background: #f2f2f2; padding: 0 3px }
"""

_EMOJI = {
    "🔴": "background:#e01e5a;border-radius:50%",
    "🟠": "background:#e8912d;border-radius:50%",
    "✅": "background:#2eb67d;border-radius:3px",
    "☑️": "background:#1d9bd1;border-radius:3px",
}
_TELL_HEIGHT = "document.documentElement.dataset.height = document.body.offsetHeight"


def draw_life(folder: Path) -> list[Path]:
    """Write the pictures: found, two hours later, over."""
    hours = {("mobile", hour_of(TODAY, hour)): 0.0 for hour in range(BROKEN, MENDED)}
    shop = HourlyShop(days=TODAY + 2, broken=hours)
    drawn = []
    with tempfile.TemporaryDirectory() as home, SlackServer() as slack:
        settings = Settings(
            home=Path(home) / "home",
            property_timezone="UTC",
            alert_rules=HERE / "alerts" / "hourly_rules.yml",
            slack_token=TOKEN,
            slack_channel=CHANNEL_ID,
            slack_base_url=slack.base_url,
            slack_signing_secret="secret",
        )
        seen = ""
        for hour in range(9, 24):
            moment = moment_of(TODAY, hour)
            shop.publish(settings, moment)
            check_rules(settings, run_id=f"hour-{hour}", as_of=moment + LATER)
            deliver_outbox(settings)
            page = render(slack, moment + LATER)
            if slack.messages and page.split("</small>", 1)[1] != seen:
                seen = page.split("</small>", 1)[1]
                drawn.append(screenshot(page, folder / f"alert-{len(drawn) + 1}.png"))
                print(f"{drawn[-1]}: {hour}:05, {slack.parents()[0]['text']}")
    return drawn


def render(slack: SlackServer, moment: dt.datetime) -> str:
    """The channel with the first message and its thread, as a page."""
    parts = [f'<div class="bar"># shop-alerts <small>{moment:%H:%M}</small></div>']
    for parent in slack.parents():
        replies = [each for each in slack.messages if each.get("thread_ts") == parent["ts"]]
        parts.append(_render_message(slack, parent))
        if replies:
            parts.append(f'<div class="count">{len(replies)} repl{"y" if len(replies) == 1 else "ies"}</div>')
        # the details, which come first, are half a page
        parts += [_render_message(slack, reply, is_reply=True) for reply in replies[1:]]
    body = "".join(parts)
    for emoji, style in _EMOJI.items():  # a browser may have no font for them
        body = body.replace(emoji, f'<span class="emoji" style="{style}"></span>')
    return f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style><body>{body}</body>"


def _render_message(slack: SlackServer, message: dict[str, Any], *, is_reply: bool = False) -> str:
    edited = " (edited)" if message["edits"] else ""
    blocks = "".join(_render_block(slack, block) for block in message["blocks"]) or escape(message["text"])
    kind = "message reply" if is_reply else "message"
    return f'<div class="{kind}"><div class="who"><b>F</b>Funnelhouse<small>APP{edited}</small></div>{blocks}</div>'


def _render_block(slack: SlackServer, block: dict[str, Any]) -> str:
    kind = block["type"]
    if kind == "header":
        return f'<div class="header">{escape(block["text"]["text"])}</div>'
    if kind == "section":
        texts = [block["text"]] if "text" in block else block.get("fields", [])
        return "".join(f'<div class="section">{_mrkdwn(each["text"])}</div>' for each in texts)
    if kind == "context":
        return "".join(f'<div class="context">{_mrkdwn(each["text"])}</div>' for each in block["elements"])
    if kind == "image":
        content = slack.files[block["slack_file"]["id"]]["content"]
        return f'<img src="data:image/png;base64,{base64.b64encode(content).decode()}">'
    if kind == "actions":
        return "".join(f"<button>{escape(each['text']['text'])}</button>" for each in block["elements"])
    return ""


def _mrkdwn(text: str) -> str:
    text = re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", text.replace("\u200b", ""))
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text)


def screenshot(page: str, path: Path) -> Path:
    """A PNG of a phone's width, as high as the page."""
    if BROWSER is None:
        raise SystemExit("pictures need a Chromium")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(f"{page}<script>{_TELL_HEIGHT}</script>", encoding="utf-8")

        def browse(height: int, *options: str) -> str:
            size = (f"--window-size={WIDTH},{height}", "--headless", "--no-sandbox", "--hide-scrollbars")
            command = [str(BROWSER), *size, "--force-device-scale-factor=1.5", *options, source.as_uri()]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        found = re.search(r'data-height="(\d+)"', browse(800, "--dump-dom"))
        assert found is not None
        browse(int(found[1]) + 12, f"--screenshot={path}")
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    target.mkdir(parents=True, exist_ok=True)
    draw_life(target)
