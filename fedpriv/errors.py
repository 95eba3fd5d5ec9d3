"""The one exception for what a user can cause: a leaf."""


class UserError(Exception):
    """A mistake that the person at the keyboard can mend.

    Its text is ONE line that names the field or file, the value found and the mend.
    Command lines print it without a traceback and exit with status 2.
    """

    def __init__(self, message: str) -> None:
        """Keep ``message`` with its line breaks folded into spaces."""
        super().__init__(" ".join(message.split()))
