"""Byte and boolean arrays in pickles, rebuilt without numpy's own functions.

Only what packers of verification sets write: one-dimensional uint8 arrays (or columns of them, as older
versions of OpenCV's ``imencode`` return), bool arrays and bool scalars. No dtype with objects can arise.
"""

from fedpriv.formats.pickle_subset import Arguments, Buildable, Names, Refused

_KINDS = {"u1": "u1", "|u1": "u1", "b1": "b1", "|b1": "b1"}


class PickledDtype(Buildable):
    """uint8 or bool.

    Attributes:
        kind: ``u1`` or ``b1``.
    """

    __slots__ = ("kind",)

    def __init__(self, arguments: Arguments) -> None:
        """Take what ``numpy.dtype`` is called with: code, align, copy."""
        code = _text(arguments[0]) if len(arguments) == 3 else None
        if code is None or code not in _KINDS:
            shown = "of another form" if code is None else repr(code[:20])
            raise Refused(f"an array with dtype {shown}; only uint8 and bool are allowed")
        self.kind = _KINDS[code]

    def build(self, state: object) -> None:
        """Refuse subarrays and fields; the byte order of single bytes says nothing."""
        if not isinstance(state, tuple) or len(state) < 8 or any(part is not None for part in state[2:5]):
            raise Refused("an array with a structured dtype is not allowed")


class PickledArray(Buildable):
    """The bytes of an array.

    Attributes:
        kind: ``u1`` or ``b1``; empty before its state is known.
        data: its items, a byte each.
    """

    __slots__ = ("data", "kind")

    def __init__(self) -> None:
        """Make an array without state."""
        self.kind, self.data = "", b""

    def build(self, state: object) -> None:
        """Take (version, shape, dtype, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array whose state is none of numpy's")
        _, shape, dtype, _, data = state
        self.fill(data, dtype, shape)

    def fill(self, data: object, dtype: object, shape: object) -> None:
        """Check and keep the parts."""
        if not isinstance(dtype, PickledDtype) or not isinstance(data, bytes):
            raise Refused("an array that is not of bytes")
        if not isinstance(shape, tuple) or shape not in ((len(data),), (len(data), 1), (1, len(data))):
            raise Refused(f"an array of {len(data)} bytes whose shape is another; need one dimension")
        self.kind, self.data = dtype.kind, data


def _reconstruct(arguments: Arguments) -> PickledArray:
    return PickledArray()


def _frombuffer(arguments: Arguments) -> PickledArray:
    if len(arguments) != 4:
        raise Refused("an array without data, dtype, shape and order")
    array = PickledArray()
    array.fill(*arguments[:3])
    return array


def _scalar(arguments: Arguments) -> bool:
    match arguments:
        case (PickledDtype(kind="b1"), bytes(data)) if data in (b"\0", b"\1"):
            return data == b"\1"
    raise Refused("a numpy scalar that is no bool")


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value[:20].decode("latin1")
    return value if isinstance(value, str) else None


NUMPY_NAMES: Names = {
    "numpy.ndarray": None,
    "numpy.dtype": PickledDtype,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", _reconstruct),
            ("numeric._frombuffer", _frombuffer),
            ("multiarray.scalar", _scalar),
        )
    },
}
"""Globals of pickled arrays, under the module names of numpy 1 and 2."""
