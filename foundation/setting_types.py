"""What a setting may hold: checked when it is read, for a mistyped one must not be found out by an alert that is lost.

No message repeats a value: many of them are secrets, or hold one.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
import re
from collections.abc import Callable
from email.utils import formataddr, getaddresses, parseaddr
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, SecretStr

# as Airflow takes them
_CRON_NAMES = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
# underscores occur in names of containers
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?", re.IGNORECASE)
_MAIL = re.compile(r"[^\s@,;<>()\[\]\\\"]+@[^\s@,;<>()\[\]\\\"]+")
_ODD_IN_PATHS = set('?#%$&;*`|<>\\"')
_MEMORY = re.compile(r"\s*\d+(\.\d+)?\s*(B|[KMGT](i?B)?|%)\s*", re.IGNORECASE)
_Value = TypeVar("_Value", str, SecretStr)


def check_web_address(value: str) -> str:
    """An address of the web; no other scheme, for `file:` and `data:` would "send" into nothing."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("is not a web address: write it as https://host/path") from error
    if parts.scheme not in ("http", "https") or not host or not _is_plain(value) or not _is_host(host):
        raise ValueError("is not a web address: write it as https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a user or password before the host: leave it out, because it would end up in logs")
    return value


def check_home(value: Path) -> Path:
    """A folder whose path means itself in SQL, in addresses of databases and in Airflow's settings."""
    path = value.expanduser().resolve()
    odd = sorted({character for character in str(path) if character in _ODD_IN_PATHS or not character.isprintable()})
    if odd:
        raise ValueError(f"{str(path)!r} has {' '.join(map(repr, odd))} in it: choose a folder without")
    return path


def check_host(value: str) -> str:
    """A host's name or address, without scheme, user, port or path."""
    if not _is_host(value):
        raise ValueError("is not a host: write only its name or address, such as smtp.example.com")
    return value


def check_hosts(value: str) -> str:
    """Names of hosts, separated by commas; none is fine."""
    for name in filter(None, map(str.strip, value.split(","))):
        if not _is_host(name):
            raise ValueError(f"{name!r} is not a host name")
    return value


def check_parameter(value: str) -> str:
    """The name of an event parameter, as GA4 allows it: a letter, then letters, digits and underscores, 40 at most."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", value):
        raise ValueError(f"{value!r} is not the name of an event parameter")
    return value


def check_mail_addresses(value: str) -> str:
    """One mail address or several, separated by commas."""
    addresses = list_mail_addresses(value)
    if not addresses:
        raise ValueError("contains no mail address")
    for place, address in enumerate(addresses, start=1):
        if not _MAIL.fullmatch(parseaddr(address)[1]) or not value.isprintable():
            raise ValueError(f"contains something that is not a mail address, at position {place}")
    return value


def list_mail_addresses(value: str) -> list[str]:
    """The addresses of a text, with their names where they have one."""
    found = getaddresses([value])
    return [formataddr((name, address)) if name else address for name, address in found if name or address]


def check_mail_address(value: str) -> str:
    """One mail address."""
    if len(list_mail_addresses(value)) != 1:
        raise ValueError("is not one mail address")
    return check_mail_addresses(value).strip()


def check_cron(value: str) -> str:
    """A cron text of five fields, or one of Airflow's names for them."""
    from croniter import croniter

    if value not in _CRON_NAMES and (len(value.split()) != 5 or not croniter.is_valid(value)):
        names = ", ".join(_CRON_NAMES)
        raise ValueError(f"{value!r} is not a cron expression such as '0 7 * * *', one of {names}, or 'none'")

    return value


def longest_pause(cron: str) -> dt.timedelta:
    """The longest time between two of the next runs of a schedule."""
    from croniter import croniter

    times = croniter(cron, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    moments = [times.get_next(dt.datetime) for _ in range(200)]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def check_zone(value: str) -> str:
    """A time zone by its IANA name; `localtime` is none, for it says nothing on another machine."""
    if value not in _list_zones() or value == "localtime":
        raise ValueError(f"{value!r} is not an IANA time zone such as 'Europe/Berlin' or 'UTC'")
    return value


def check_memory(value: str) -> str:
    """A size as DuckDB takes it."""
    if not _MEMORY.fullmatch(value):
        raise ValueError(f"{value!r} is not a size such as '6GB', '512MiB' or '75%'")
    return value


def check_token(value: SecretStr) -> SecretStr:
    """A token: what surrounds it is dropped, what it cannot hold is refused."""
    text = value.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("contains a space, a line break or an odd character: copy it again")
    return SecretStr(text)


def check_one_line(value: _Value) -> _Value:
    """Text of one line."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not text.isprintable():
        raise ValueError("contains a line break or another control character")
    return value


@lru_cache
def _list_zones() -> set[str]:
    return available_timezones()


def _is_plain(value: str) -> bool:
    return value.isprintable() and " " not in value


def _is_host(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return _HOST.fullmatch(value) is not None
    return True


def _checked(check: Callable[[_Value], _Value]) -> AfterValidator:
    return AfterValidator(check)


WebAddress = Annotated[str, _checked(check_web_address)]
Host = Annotated[str, _checked(check_host)]
HostNames = Annotated[str, _checked(check_hosts)]
ParameterName = Annotated[str, _checked(check_parameter)]
MailAddresses = Annotated[str, _checked(check_mail_addresses)]
MailAddress = Annotated[str, _checked(check_mail_address)]
HomeFolder = Annotated[Path, AfterValidator(check_home)]
Cron = Annotated[str, _checked(check_cron)]
Zone = Annotated[str, _checked(check_zone)]
MemoryLimit = Annotated[str, _checked(check_memory)]
Token = Annotated[SecretStr, _checked(check_token)]
Secret = Annotated[SecretStr, _checked(check_one_line)]
OneLine = Annotated[str, _checked(check_one_line)]
