"""The one exception for what a user can cause: a leaf."""


class UserError(Exception):
    """A mistake that the person at the keyboard can mend.

    Its text is ONE line that names the field or file, the value found and the mend.
    Command lines print it without a traceback and exit with status 2.
    """

    def __init__(self, message: str) -> None:
        """Keep ``message`` with white space folded and what no terminal should be sent escaped."""
        folded = " ".join(message.split())
        super().__init__(
            "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in folded)
        )


class StaleCheckpoint(UserError):
    """A run on disk that cannot be gone on with: it must be run anew."""


class FormatError(UserError):
    """A file that is not what its format demands.

    Attributes:
        source: the file.
        offset: byte offset (line number for text files) at which reading failed, or None.
        reason: what is wrong, without file and offset.
    """

    def __init__(self, source: object, offset: int | None, reason: str, unit: str = "offset") -> None:
        """Build the one line ``source: offset N: reason``; ``unit`` is ``line`` for text files."""
        place = "" if offset is None else f" {unit} {offset}:"
        super().__init__(f"{source}:{place} {reason}")
        self.source, self.offset, self.reason = source, offset, reason
