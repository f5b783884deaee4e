"""Every error a user can cause: what happened, where, and the cure, with the exit code of the command line."""

from __future__ import annotations

from os import PathLike

Where = str | PathLike[str] | None


class SegueError(Exception):
    """A user-facing error, printed as one line: ``what``, the file or key it is about, and the cure.

    Args:
        what: what is wrong, without a trailing full stop.
        where: the file, record or key that it is about.
        cure: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: Where = None, cure: str | None = None) -> None:
        self.what, self.where, self.cure = what, None if where is None else str(where), cure
        place = f"{self.where}: " if self.where else ""
        advice = f"; {cure}" if cure else ""
        super().__init__(f"{place}{what}{advice}")


class UsageError(SegueError):
    """A command or function was called with arguments that make no sense."""


class ImageError(SegueError):
    """An image or video cannot be read."""


class DataError(SegueError):
    """An annotation file or data set is unusable."""


class RecipeError(SegueError):
    """A recipe has an unknown key, a wrong value, or asks for the impossible."""


class CheckpointError(SegueError):
    """A weights file is damaged, foreign, or does not fit the model."""


class TrainingError(SegueError):
    """Training cannot go on: the loss is not a number, or a loader worker hangs."""


class SomeInputsFailed(SegueError):
    """Some inputs of many could not be processed; the others were."""

    exit_code = 3


def printable(text: str) -> str:
    """The text on one line, without the control characters that a file name or a data set may hold."""
    return "".join(c if c.isprintable() else " " for c in text)
