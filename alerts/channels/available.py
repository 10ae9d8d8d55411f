"""The channels that there are: each module of this folder with a `CHANNEL`."""

from __future__ import annotations

import importlib
import pkgutil

import alerts.channels
from alerts.channels.protocol import Channel
from foundation.settings import Settings


def list_channels() -> list[type[Channel]]:
    """All channels, those that are always queued for first, then by name."""
    modules = pkgutil.iter_modules(alerts.channels.__path__, prefix="alerts.channels.")
    found = [getattr(importlib.import_module(module.name), "CHANNEL", None) for module in modules]
    return sorted(
        (channel for channel in found if channel is not None),
        key=lambda channel: (not channel.is_always_queued, channel.name),
    )


def choose_channels(settings: Settings) -> list[type[Channel]]:
    """The channels that messages are queued for."""
    return [channel for channel in list_channels() if channel.is_always_queued or channel.is_configured(settings)]


def find_channel(name: str) -> type[Channel] | None:
    """The channel of a name; None where there is none any more."""
    return next((channel for channel in list_channels() if channel.name == name), None)
