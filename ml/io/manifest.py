"""The manifest of a stored version: what it is, what is known of it, and hashes that vouch for both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ml.core.contract import ContractError
from ml.core.errors import ModelOutdatedError, ModelRefusedError
from ml.core.record import ModelRecord, read_record

FORMAT = 2  # of the files of a version; raise it when an older one can't be read any more
MANIFEST_HASH = "manifest_sha256"
ADVICE = "it is not loaded; restore it or train again with `python -m ml train`"


@dataclass(frozen=True)
class Manifest:
    """What is known about one stored version of a model."""

    name: str
    version: str
    trained_at: str  # ISO, UTC
    model_sha256: str
    trusted_types: tuple[str, ...]  # of the model file, beyond what skops trusts by itself
    record: ModelRecord

    def to_json(self) -> str:
        """The manifest as it stands in the file, with its own hash."""
        values = {
            **self.record.to_dict(),
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "trained_at": self.trained_at,
            "model_sha256": self.model_sha256,
            "trusted_types": self.trusted_types,
        }
        return format_json({**values, MANIFEST_HASH: hash_manifest(values)})

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Manifest:
        """Read what `to_json` wrote; messages begin with `where`.

        Raises `ModelOutdatedError` for one of another format, `ModelRefusedError` for one that is broken or changed.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ModelRefusedError(f"{where} can't be read ({error}): {ADVICE}") from error
        if not isinstance(values, dict):
            raise ModelRefusedError(f"{where} does not contain a JSON object: {ADVICE}")
        if values.get("format") != FORMAT:
            raise ModelOutdatedError(
                f"{where} was written by another version of Funnelhouse (format {values.get('format', 1)}, this one "
                f"reads {FORMAT}): train again with `python -m ml train`"
            )
        if values.pop(MANIFEST_HASH, None) != hash_manifest(values):
            raise ModelRefusedError(f"{where} is not what was written (its hash differs): {ADVICE}")
        try:
            return cls(
                name=values["name"],
                version=values["version"],
                trained_at=values["trained_at"],
                model_sha256=values["model_sha256"],
                trusted_types=tuple(values["trusted_types"]),
                record=read_record(values),
            )
        except ContractError as error:
            raise ModelRefusedError(f"{where}: {error}: {ADVICE}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelRefusedError(f"{where} is not a complete manifest ({error!r}): {ADVICE}") from error


def hash_manifest(values: dict[str, Any]) -> str:
    """The hash of a manifest's values, without the hash itself."""
    return hashlib.sha256(format_json(values).encode()).hexdigest()


def format_json(values: dict[str, Any]) -> str:
    """JSON in the one form that hashes are taken of."""
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)
