"""What cannot be trained on, and what is not loaded."""

from __future__ import annotations

from foundation.errors import FunnelhouseError


class TrainingDataError(FunnelhouseError):
    """The rows cannot train or judge a model; the message says which table or file, and why."""


class ModelRefusedError(FunnelhouseError):
    """A stored model is missing, broken, changed or holds something foreign; it is not loaded."""


class ModelOutdatedError(ModelRefusedError):
    """A stored model was written by an older Funnelhouse, in a form that is not read any more."""
