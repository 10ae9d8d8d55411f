"""Why a message could not be delivered."""

from __future__ import annotations

from foundation.errors import FunnelhouseError


class AlertDeliveryError(FunnelhouseError):
    """A message could not be delivered; it stays in the outbox and goes out with the next delivery."""


class ChannelUnavailableError(AlertDeliveryError):
    """The other side did not answer, answered with errors, or limited the rate for too long; later may help."""


class ChannelRejectedError(AlertDeliveryError):
    """The other side refuses everything until someone changes the configuration."""


class ChannelFailedError(AlertDeliveryError):
    """Something unforeseen happened on the way; the other channels go on."""


class MessageRefusedError(AlertDeliveryError):
    """The other side refused the content of this one message."""


class MessageGoneError(AlertDeliveryError):
    """The message to change or to reply to was deleted by somebody; there is nothing left to do."""
