"""Checks and delivers in forked processes that a test may kill: the imports, a second of CPU, are paid once.

Reads one JSON line a run (`run_id`, `as_of`) from standard input; prints the process id when it starts and `exit CODE`
when it has ended.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys

from alerts.channels.errors import AlertDeliveryError
from alerts.channels.slack import Slack
from alerts.channels.slack_api import SlackSender
from alerts.incidents.check import check_rules
from alerts.incidents.sending import deliver_outbox
from foundation.settings import load_settings


def check(run_id: str, as_of: str) -> int:
    """One check and delivery with short waits; 1 when messages are left."""
    settings = load_settings()
    assert settings.slack_token is not None and settings.slack_channel is not None
    sender = SlackSender(
        token=settings.slack_token,
        channel=settings.slack_channel,
        base_url=settings.slack_base_url,
        max_attempts=3,
        backoff_seconds=0.01,
        timeout_seconds=1,
    )
    check_rules(settings, run_id=run_id, as_of=dt.datetime.fromisoformat(as_of))
    try:
        return int(deliver_outbox(settings, instead=Slack(sender)).pending > 0)
    except AlertDeliveryError:
        return 1


def main() -> None:
    """Serve runs until standard input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = check(order["run_id"], order["as_of"])
            finally:
                os._exit(code)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(f"exit {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
