"""Bytes of a known size that are written in place and handed out without a copy."""

import io


class FixedBytes:
    """Room for ``size`` bytes, zero at first.

    Flower sends ``bytes`` only, which cannot be written, and ``bytes(bytearray)`` would hold an update twice.
    The value of a BytesIO is the very object that it was written in, as long as nobody else holds it.

    Attributes:
        view: all of it, writable, until :meth:`take`.
    """

    def __init__(self, size: int) -> None:
        """Reserve the memory; the system provides pages as they are written."""
        # an unnamed argument: a second reference would make getbuffer() copy
        self._file = io.BytesIO(bytes(size))
        self.view = self._file.getbuffer()

    def take(self) -> bytes:
        """Return what was written; nothing can be written any more.

        Raises:
            BufferError: when somebody still holds a slice of :attr:`view`.
        """
        self.view.release()
        taken = self._file.getvalue()
        self._file.close()
        return taken
