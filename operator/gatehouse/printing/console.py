"""rich's console, with what it shows neutralised: bars and live views draw by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gatehouse.domain.common.text import plain_lines

__all__ = ["NeutralConsole"]


class NeutralConsole(Console):
    """Neither markup, nor emoji codes, nor colours for what looks like a number; text does not move the cursor.

    What moves it, in a live view, are rich's own control segments.
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
        """Segments whose text is plain."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(plain_lines(segment.text), segment.style)
