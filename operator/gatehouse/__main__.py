"""``python -m gatehouse`` is the ``gatehouse`` command."""

from __future__ import annotations

from gatehouse.cli.main import main

if __name__ == "__main__":
    main()
