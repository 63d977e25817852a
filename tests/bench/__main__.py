"""``make bench``: runs the benches, prints a table, writes JSON. Exit code 1 when a count is not what it must be."""

from __future__ import annotations

import sys
from pathlib import Path

# The benches are a package beside the tests' other helpers, and import both by name.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.command import main  # noqa: E402 - the path comes first

if __name__ == "__main__":
    sys.exit(main())
