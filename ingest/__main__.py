"""`python -m ingest [--dry-run]`: bring the lake up to date with the export and say what was done."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter

from ingest.job import load_changed_days, plan_load
from ingest.place import LakeLockedError
from ingest.source import SourceError
from warehouse.settings import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code (0 also when files were quarantined: the other days are loaded)."""
    parser = argparse.ArgumentParser(prog="python -m ingest", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would be loaded, and change nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_settings()
    try:
        if options.dry_run:
            plan = plan_load(settings)
            for table in plan:
                if table.what != "unchanged":
                    size = f", {table.size_bytes:,} bytes" if table.size_bytes else ""
                    print(f"{table.event_date} {table.table_name}: {table.what}{size}")
            counts = Counter(table.what for table in plan)
            size = f"{sum(table.size_bytes for table in plan):,} bytes would be read"
            print("; ".join([*(f"{number} {what}" for what, number in sorted(counts.items())), size]))
        else:
            print(load_changed_days(settings).to_text())
    except (SourceError, LakeLockedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
