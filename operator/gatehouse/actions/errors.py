"""What ends a command of a reviewer or an author, as one tree.

::

    ReviewError
      Refused       it is not done, and would not be: who may do it instead
      NothingToDo   there is nothing that it could be done to
"""

from __future__ import annotations

__all__ = ["NothingToDo", "Refused", "ReviewError"]


class ReviewError(Exception):
    """A message that names the thing, what was found, what is wanted and the way out."""


class Refused(ReviewError):
    """Asked before anything is written, so that people read why; admission is what holds."""


class NothingToDo(ReviewError):
    """There is nothing that it could be done to."""
