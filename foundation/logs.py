"""One logging set-up for every command line."""

from __future__ import annotations

import logging


def set_up_logging(level: int) -> None:
    """Log to standard error, so that what a command prints can be piped; libraries only speak up to warn."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for room in ("foundation", "warehouse", "ingest", "expectations", "ml", "alerts", "sample_shop", "runner"):
        logging.getLogger(room).setLevel(level)
