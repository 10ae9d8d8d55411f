"""Opens pages in a real browser, and counts what they should never do: run a visitor's script, fetch from elsewhere."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_RUN = "document.documentElement.dataset.owned=1"
# Whatever comes from a shop's visitors may be one of these.
HOSTILE_VALUES = (
    f"<script>{_RUN}</script>",
    "<script src=//a.bc></script>",
    f"\"><img src=//a.bc/i onerror='{_RUN}'>",
    f"'><svg onload={_RUN}>",
    f"</title></style></script><body onload={_RUN}>",
    f"`-{{{{constructor.constructor('{_RUN}')()}}}}",
    "<link rel=stylesheet href=//a.bc/s><iframe src=//a.bc/f></iframe>",
    f"</td></table><details open ontoggle={_RUN}>",
)

# What a browser asks on its own, whatever page is open; no page of ours has a reason to name these.
_ITS_OWN = re.compile(r"(.+\.)?(google\.com|gvt1\.com)|(?!fonts\.|ajax\.)[\w-]+\.googleapis\.com")


@dataclass
class Visits:
    """What the opened pages did: those in which a hostile script ran, and what was asked of other hosts."""

    owned: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@contextmanager
def _serve(folder: Path, visits: Visits) -> Iterator[int]:
    """A server of a folder that is the browser's only way out, and notes what it asks of anybody else."""

    def note_outside(host: str) -> None:
        if not _ITS_OWN.fullmatch(host):
            visits.outside.append(host)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            path = folder / unquote(address.path).lstrip("/")
            if address.port != self.server.server_port:  # type: ignore[attr-defined]
                note_outside(str(address.hostname))
            if address.port != self.server.server_port or not path.is_file():  # type: ignore[attr-defined]
                self.send_error(404)
                return
            content = path.read_bytes()
            if path.suffix == ".html":  # what a page lets a browser refuse is a second line: the first one has to hold
                content = re.sub(rb'<meta http-equiv="Content-Security-Policy"[^>]*>', b"", content)
            self.send_response(200)
            kinds = {".html": "text/html; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}
            self.send_header("Content-Type", kinds.get(path.suffix, "text/plain"))
            self.end_headers()
            self.wfile.write(content)

        def do_CONNECT(self) -> None:
            note_outside(self.path.rpartition(":")[0])
            self.send_error(404)

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def visit(folder: Path, pages: list[Path], profile: Path) -> Visits:
    """Open each page of a folder; `profile` is an empty folder for the browser."""
    visits = Visits()
    with _serve(folder, visits) as port:
        for page in pages:
            dom = subprocess.run(
                [
                    str(BROWSER),
                    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                    *("--proxy-bypass-list=<-loopback>", f"--proxy-server=127.0.0.1:{port}"),
                    *(f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom"),
                    f"http://127.0.0.1:{port}/{page.relative_to(folder).as_posix()}",
                ],
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            ).stdout
            assert "</html>" in dom, page
            if re.search(r"<html[^>]* data-owned", dom):
                visits.owned.append(page.name)
    return visits
