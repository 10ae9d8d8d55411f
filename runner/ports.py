"""Ports of this machine: whether one can be had, and who holds it."""

from __future__ import annotations

import contextlib
import socket

import psutil

from foundation.errors import FunnelhouseError


class PortTakenError(FunnelhouseError):
    """Nothing can listen on a port; the message says who holds it."""


def check_port(port: int) -> None:
    """Raise PortTakenError, saying who holds it, if nothing can listen on the port."""
    with socket.socket() as probe:
        # as servers do: connections of the last one that linger are no hindrance
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} cannot be used ({error.strerror}): {_say_holder(port)}. "
                f"Choose another, for example `make up PORT={port + 1 if port < 65535 else 8080}`"
            ) from None


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(process: psutil.Process, port: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for connection in process.net_connections("tcp")
        )
    return False


def _say_holder(port: int) -> str:
    for process in psutil.process_iter():
        if listens(process, port):
            with contextlib.suppress(psutil.Error):
                home = _airflow_home_of(process)
                what = f"the Airflow of {home}" if home else " ".join(process.cmdline())[:80]
                return f"process {process.pid} of {process.username()} holds it ({what})"
    return "who holds it cannot be seen"


def _airflow_home_of(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.parents()):
            if home := one.environ().get("AIRFLOW_HOME"):
                return home
    return None
