"""The one selection of coordinates that a client or key holder goes by in a run, once it has seen it."""

import threading
from collections.abc import Callable

from fedpriv.federated.keyholder import KeyHolder, OpenRequest, Refusal
from fedpriv.federated.messages import MessageError
from fedpriv.he.answer import SignedAnswer
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.selection import SelectionError, unpack_choice
from fedpriv.he.selective import select


class Selection:
    """What a party remembers of the server's choice of coordinates to encrypt.

    The server makes the choice from the aggregated sensitivity map, which a single party cannot
    check. What it can check, it does.

    Guarantee:
        - Exactly ceil(share * P) coordinates are selected, or all of them: what a server says that could
          open no sum of sensitivity maps.
        - They stay the same for the whole run: a server that chose others in every round would have
          read all of them in clear in the end.

    Edge cases:
        - The first selection that is well formed is the one; a process that starts anew has none yet.
    """

    def __init__(self, share: float, length: int) -> None:
        """Expect a selection of ``share`` of ``length`` coordinates."""
        self._length, self._share = length, share
        self._packed: bytes | None = None
        self._made: tuple[UpdateCodec, UpdateCodec] | None = None
        self._lock = threading.Lock()

    def codec(self, inner: UpdateCodec, packed: bytes | None) -> UpdateCodec:
        """Return ``inner`` around the selection that the server sent; the same object for the same inner.

        Raises:
            MessageError: ``wrong_selection`` when it is missing, malformed, or another than before.
        """
        with self._lock:
            if packed is None or self._packed not in (None, packed):
                raise MessageError("wrong_selection")
            if self._made is None or self._made[0] is not inner:
                try:
                    selected = unpack_choice(packed, self._length, self._share)
                except SelectionError:
                    raise MessageError("wrong_selection") from None
                self._made = inner, select(inner, selected)
                self._packed = packed
            return self._made[1]


class SelectingKeyHolder:
    """A key holder that opens the sum of whole maps in round 0 and of selected coordinates afterwards.

    Guarantee:
        - As :class:`~fedpriv.federated.keyholder.KeyHolder`, and from round 1 only for updates whose
          clients have signed for the one selection that this holder was shown first.
    """

    def __init__(
        self,
        whole: KeyHolder,
        selection: Selection,
        inner: UpdateCodec,
        around: Callable[[UpdateCodec], KeyHolder],
    ) -> None:
        """Prepare to answer.

        Args:
            whole: opens round 0, and answers no other.
            selection: remembers the server's choice.
            inner: encrypts the selected coordinates.
            around: makes what opens later rounds for a codec, up to the last one that is planned; on the
                same transcript as ``whole``.
        """
        self._whole, self._selection, self._inner, self._around = whole, selection, inner, around
        self._made: tuple[UpdateCodec, KeyHolder] | None = None

    def open(self, request: OpenRequest) -> SignedAnswer:
        """Return this holder's part of opening the sum, signed.

        Raises:
            Refusal: by its cause, ``wrong_selection`` among them.
        """
        if request.round == 0:
            return self._whole.open(request)
        try:
            codec = self._selection.codec(self._inner, request.selection)
        except MessageError as error:
            raise Refusal(error.cause) from None
        if self._made is None or self._made[0] is not codec:
            self._made = codec, self._around(codec)
        return self._made[1].open(request)
