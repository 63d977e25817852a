"""The console of rich for bars and live views, with neutral text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gatehouse.domain.common.text import plain_lines

__all__ = ["NeutralConsole"]


class NeutralConsole(Console):
    """Interprets no markup and no emoji codes, and colours no numbers. Text cannot move the cursor.

    Only the control segments of rich move the cursor in a live view.
    """

    def __init__(self, *, stderr: bool, file: IO[str] | None = None, force_terminal: bool | None = None) -> None:
        super().__init__(
            stderr=stderr,
            file=file,
            force_terminal=force_terminal,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=True,
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments with plain text."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(plain_lines(segment.text), segment.style)
