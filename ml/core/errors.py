"""Data that no model can be trained on or judged with."""

from __future__ import annotations

from foundation.errors import FunnelhouseError


class TrainingDataError(FunnelhouseError):
    """The rows cannot train or judge a model; the message says which table or file, and why."""
