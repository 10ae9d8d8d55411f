"""A local HTTP server that speaks the part of Slack's Web API that Funnelhouse uses, with faults on demand.

In a test: `with SlackServer() as server: …`. On its own: `python tests/slack_server.py --port 0 --log file.jsonl`
prints one JSON line with its address, writes every call to the log, and runs until it is terminated.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "xoxb-000000000000-test-token-of-the-local-server"
CHANNEL_ID = "C0123456789"
CHANNEL_NAME = "alerts"


@dataclass(frozen=True)
class Fault:
    """What happens to one call: `kind` is one of the words below.

    status: answer with `status` (and `retry_after`); error: `ok: false` with `error`; reset: cut the connection before
    anything is done; slow: wait `seconds`, then go on; accepted_then_reset: do it, then cut the connection;
    accepted_then_status: do it, then answer with `status`; accepted_then_hang: do it, then be silent for `seconds`.
    """

    kind: str
    status: int = 500
    retry_after: int | None = None
    error: str = "invalid_auth"
    seconds: float = 1.0


@dataclass
class Call:
    """One call as it arrived. The Authorization header is checked and not kept."""

    method: str
    params: dict[str, Any]
    outcome: str
    at: float = field(default_factory=time.time)


class SlackServer:
    """The server; `messages`, `files` and `calls` hold what happened."""

    def __init__(
        self,
        *,
        port: int = 0,
        token: str = TOKEN,
        log_path: Path | None = None,
        image_ready_after: int = 0,
        scopes: frozenset[str] = frozenset({"chat:write", "files:write", "channels:history", "channels:read"}),
    ):
        self.token = token
        self.scopes = scopes
        self.image_ready_after = image_ready_after  # posts that refuse a fresh file before it may be shown
        self.choose_fault: Callable[[str], Fault | None] = lambda method: None  # for calls without an injected one
        self.watch: Callable[[str, str], None] = lambda method, moment: None  # told when a call has arrived, is applied
        self.calls: list[Call] = []
        self.messages: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._log_path = log_path
        self._lock = threading.RLock()
        self._clock = time.time()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _make_handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        """http://127.0.0.1:PORT"""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        """What FUNNELHOUSE_SLACK_BASE_URL takes."""
        return f"{self.address}/api/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def inject(self, method: str, *faults: Fault) -> None:
        """The next calls of a method ("upload" is the upload itself) meet these faults, one each."""
        with self._lock:
            self._faults[method].extend(faults)

    def parents(self) -> list[dict[str, Any]]:
        """The messages that are not replies."""
        return [message for message in self.messages if "thread_ts" not in message]

    def told(self) -> list[dict[str, Any]]:
        """All messages but the details that come as the first reply to an incident's own."""
        return [message for message in self.messages if not _key_of(message).endswith(":details")]

    def details(self) -> list[dict[str, Any]]:
        """These first replies."""
        return [message for message in self.messages if _key_of(message).endswith(":details")]

    def calls_of(self, method: str) -> list[Call]:
        """The calls of one method."""
        return [call for call in self.calls if call.method == method]

    def wait_for(self, method: str, count: int = 1, *, seconds: float = 30) -> None:
        """Wait until a method was called `count` times; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while len(self.calls_of(method)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} was called {len(self.calls_of(method))} times, expected {count}")
            time.sleep(0.01)

    # What follows runs in the handler's threads.

    def take_fault(self, method: str) -> Fault | None:
        with self._lock:
            return self._faults[method].popleft() if self._faults[method] else self.choose_fault(method)

    def record(self, method: str, params: dict[str, Any], outcome: str) -> None:
        call = Call(method, params, outcome)
        with self._lock:
            self.calls.append(call)
            if self._log_path is not None:
                with self._log_path.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(call.__dict__, ensure_ascii=False) + "\n")

    def handle(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to an authorised call."""
        handlers = {
            "auth.test": lambda _: {"ok": True, "user_id": "U0BOT00000", "team": "local"},
            "chat.postMessage": self._post_message,
            "chat.update": self._update_message,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.list": self._list_channels,
            "files.getUploadURLExternal": self._get_upload_url,
            "files.completeUploadExternal": self._complete_upload,
        }
        if method not in handlers:
            return _fail("unknown_method")
        with self._lock:
            return handlers[method](params)

    def receive_upload(self, file_id: str, content: bytes) -> bool:
        with self._lock:
            file = self.files.get(file_id)
            if file is None or len(content) != file["length"]:
                return False
            file["content"] = content
            return True

    def _next_ts(self) -> str:
        self._clock = max(self._clock + 0.000001, time.time())
        return f"{self._clock:.6f}"

    def _post_message(self, params: dict[str, Any]) -> dict[str, Any]:
        if "chat:write" not in self.scopes:
            return _fail("missing_scope")
        if params.get("channel") not in (CHANNEL_ID, CHANNEL_NAME, f"#{CHANNEL_NAME}"):
            return _fail("channel_not_found")
        blocks = _decode(params.get("blocks"), [])
        problems = find_block_problems(blocks) or self._find_image_problems(blocks)
        if problems:
            return _fail("invalid_blocks", problems)
        if not params.get("text") and not blocks:
            return _fail("no_text")
        message: dict[str, Any] = {
            "type": "message",
            "ts": self._next_ts(),
            "text": params.get("text", ""),
            "blocks": blocks,
            "metadata": _decode(params.get("metadata"), None),
            "edits": 0,
        }
        if params.get("thread_ts"):
            message["thread_ts"] = params["thread_ts"]
        self.messages.append(message)
        return {"ok": True, "channel": CHANNEL_ID, "ts": message["ts"], "message": message}

    def _find_image_problems(self, blocks: list[dict[str, Any]]) -> list[str]:
        for index, block in enumerate(blocks):
            if "slack_file" not in block:
                continue
            file = self.files.get(block["slack_file"].get("id", ""))
            if file is None or not file["is_complete"]:
                return [f"invalid slack file [json-pointer:/blocks/{index}/slack_file]"]
            file["refusals"] += 1
            if file["refusals"] <= self.image_ready_after:
                return [f"invalid slack file [json-pointer:/blocks/{index}/slack_file]"]
        return []

    def _update_message(self, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("channel") != CHANNEL_ID:
            return _fail("channel_not_found")
        blocks = _decode(params.get("blocks"), None)
        if blocks and (problems := find_block_problems(blocks) or self._find_image_problems(blocks)):
            return _fail("invalid_blocks", problems)
        for message in self.messages:
            if message["ts"] == params.get("ts"):
                message["text"] = params.get("text", message["text"])
                message["blocks"] = message["blocks"] if blocks is None else blocks
                message["edits"] += 1
                return {"ok": True, "channel": CHANNEL_ID, "ts": message["ts"]}
        return _fail("message_not_found")

    def _history(self, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("channel") != CHANNEL_ID:
            return _fail("channel_not_found")
        return self._page(params, self.parents()[::-1])

    def _replies(self, params: dict[str, Any]) -> dict[str, Any]:
        thread = [m for m in self.messages if params.get("ts") in (m["ts"], m.get("thread_ts"))]
        return self._page(params, thread) if thread else _fail("thread_not_found")

    def _page(self, params: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
        if "channels:history" not in self.scopes:
            return _fail("missing_scope")
        kept = [dict(message) for message in messages if float(message["ts"]) > float(params.get("oldest") or 0)]
        if str(params.get("include_all_metadata")).lower() not in ("1", "true"):
            for message in kept:
                message.pop("metadata", None)
        start, limit = int(params.get("cursor") or 0), int(params.get("limit") or 100)
        more = start + limit < len(kept)
        cursor = str(start + limit) if more else ""
        page = kept[start : start + limit]
        return {"ok": True, "messages": page, "has_more": more, "response_metadata": {"next_cursor": cursor}}

    def _list_channels(self, _: dict[str, Any]) -> dict[str, Any]:
        if "channels:read" not in self.scopes:
            return _fail("missing_scope")
        return {"ok": True, "channels": [{"id": CHANNEL_ID, "name": CHANNEL_NAME}], "response_metadata": {}}

    def _get_upload_url(self, params: dict[str, Any]) -> dict[str, Any]:
        if "files:write" not in self.scopes:
            return _fail("missing_scope")
        file_id = f"F{len(self.files) + 1:010d}"
        self.files[file_id] = {
            "name": params.get("filename"),
            "length": int(params.get("length") or 0),
            "content": b"",
            "is_complete": False,
            "refusals": 0,
            "thread_ts": None,
        }
        return {"ok": True, "file_id": file_id, "upload_url": f"{self.address}/upload/{file_id}"}

    def _complete_upload(self, params: dict[str, Any]) -> dict[str, Any]:
        files = _decode(params.get("files"), [])
        for item in files:
            file = self.files.get(item["id"])
            if file is None or not file["content"]:
                return _fail("file_not_found")
            file["is_complete"] = True
            file["thread_ts"] = params.get("thread_ts")
        return {"ok": True, "files": [{"id": item["id"], "title": item.get("title")} for item in files]}


# One branch for each kind of block, as in Slack's own list.
def find_block_problems(blocks: list[dict[str, Any]]) -> list[str]:  # noqa: C901
    """What Slack would refuse about a message's blocks, with its own limits; lengths in UTF-16 code units."""
    problems = []
    if len(blocks) > 50:
        problems.append(f"{len(blocks)} blocks, at most 50")

    def check(text: dict[str, Any], limit: int, where: str) -> None:
        size = _size(text["text"])
        if not 1 <= size <= limit:
            problems.append(f"{where}: {size} characters, must be 1 to {limit}")
        if text["type"] == "mrkdwn":
            bare = re.sub(r"<(?:https?://[^<>|]+\|[^<>|]*|@[UW][A-Z0-9]+|!subteam\^S[A-Z0-9]+)>", "", text["text"])
            if re.search(r"[<>]|&(?!amp;|lt;|gt;)", bare):
                problems.append(f"{where}: an unescaped &, < or >")

    for index, block in enumerate(blocks):
        where = f"/blocks/{index}"
        if block["type"] == "header":
            if block["text"]["type"] != "plain_text":
                problems.append(f"{where}: a header is plain_text")
            check(block["text"], 150, where)
        elif block["type"] == "section":
            if "text" in block:
                check(block["text"], 3000, where)
            if len(block.get("fields", [])) > 10:
                problems.append(f"{where}: more than 10 fields")
            for number, text in enumerate(block.get("fields", [])):
                check(text, 2000, f"{where}/fields/{number}")
        elif block["type"] == "context":
            if not 1 <= len(block["elements"]) <= 10:
                problems.append(f"{where}: 1 to 10 elements")
            for number, text in enumerate(block["elements"]):
                check(text, 2000, f"{where}/elements/{number}")
        elif block["type"] == "image":
            if not 1 <= _size(block.get("alt_text", "")) <= 2000:
                problems.append(f"{where}: alt_text must have 1 to 2000 characters")
            if not re.fullmatch(r"F[A-Z0-9]{8,}", block.get("slack_file", {}).get("id", "")):
                problems.append(f"{where}: slack_file needs the id of a file")
        elif block["type"] == "actions":
            if not 1 <= len(block["elements"]) <= 25:
                problems.append(f"{where}: 1 to 25 elements")
            ids = [element["action_id"] for element in block["elements"]]
            if len(set(ids)) < len(ids):
                problems.append(f"{where}: an action_id stands twice")
            for number, element in enumerate(block["elements"]):
                check(element["text"], 75, f"{where}/elements/{number}")
                if not 1 <= _size(element["value"]) <= 2000:
                    problems.append(f"{where}/elements/{number}: value must have 1 to 2000 characters")
        elif block["type"] != "divider":
            problems.append(f"{where}: unknown type {block['type']}")
    if _size(json.dumps(blocks, ensure_ascii=False)) > 13_200:
        problems.append("the blocks are too long altogether")
    return problems


def _size(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _fail(error: str, messages: list[str] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"ok": False, "error": error}
    if messages:
        answer["errors"] = messages
        answer["response_metadata"] = {"messages": [f"[ERROR] {message}" for message in messages]}
    return answer


def _decode(value: Any, default: Any) -> Any:
    if value is None:
        return default
    return json.loads(value) if isinstance(value, str) else value


# Its branches are those of a whole class, made here so that it knows its server.
def _make_handler(slack: SlackServer) -> type[BaseHTTPRequestHandler]:  # noqa: C901
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass  # calls are recorded, not printed

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if url.path.startswith("/upload/"):
                method, params = "upload", {"file_id": url.path.removeprefix("/upload/"), "bytes": len(body)}
            else:
                method = url.path.removeprefix("/api/")
                params = self._read_params(url.query, body)
            fault = slack.take_fault(method)
            slack.record(method, params, fault.kind if fault else "ok")
            slack.watch(method, "arrived")
            if fault and fault.kind == "slow":
                time.sleep(fault.seconds)
            if fault and fault.kind == "reset":
                return self._reset()
            if fault and fault.kind == "status":
                return self._answer(_fail("ratelimited" if fault.status == 429 else "internal_error"), fault)
            if fault and fault.kind == "error":
                return self._answer(_fail(fault.error))
            if method == "upload":
                ok = slack.receive_upload(str(params["file_id"]), body)
                answer = {"ok": ok}
            elif self.headers.get("Authorization") != f"Bearer {slack.token}":
                answer = _fail("invalid_auth" if self.headers.get("Authorization") else "not_authed")
            else:
                answer = slack.handle(method, params)
            slack.watch(method, "applied")
            if fault and fault.kind == "accepted_then_reset":
                return self._reset()
            if fault and fault.kind == "accepted_then_status":
                return self._answer(_fail("internal_error"), fault)
            if fault and fault.kind == "accepted_then_hang":
                time.sleep(fault.seconds)
            return self._answer(answer)

        def _read_params(self, query: str, body: bytes) -> dict[str, Any]:
            params: dict[str, Any] = {key: values[-1] for key, values in parse_qs(query).items()}
            kind = (self.headers.get("Content-Type") or "").split(";")[0]
            if kind == "application/json":
                params |= json.loads(body or b"{}")
            else:
                params |= {key: values[-1] for key, values in parse_qs(body.decode()).items()}
            return params

        def _answer(self, answer: dict[str, Any], fault: Fault | None = None) -> None:
            content = json.dumps(answer).encode()
            self.send_response(fault.status if fault else 200)
            if fault and fault.retry_after is not None:
                self.send_header("Retry-After", str(fault.retry_after))
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _reset(self) -> None:
            # Lingering for zero seconds makes the close a RST and not an orderly end.
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client went away, as a killed one does

    return Handler


def main() -> None:
    """Run on its own until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, default=None, help="every call as a JSON line")
    parser.add_argument("--token", default=TOKEN, help="the token that is let in")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="METHOD=JSON",
        help='for example chat.postMessage={"kind":"status","status":429,"retry_after":1}; in order, one call each',
    )
    options = parser.parse_args()
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    with SlackServer(port=options.port, token=options.token, log_path=options.log) as server:
        for item in options.fault:
            method, text = item.split("=", 1)
            server.inject(method, Fault(**json.loads(text)))
        ready = {"base_url": server.base_url, "channel": CHANNEL_ID, "token": options.token, "pid": os.getpid()}
        print(json.dumps(ready), flush=True)
        stop.wait()


if __name__ == "__main__":
    main()


def _key_of(message: dict[str, Any]) -> str:
    payload = (message.get("metadata") or {}).get("event_payload") or {}
    return str(payload.get("key", ""))
