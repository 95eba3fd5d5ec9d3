"""The part of pickle that plain data need, read without :mod:`pickle`.

A pickle is a program for a stack machine, and the standard reader runs any program. This reader knows the
instructions for lists, tuples, bytes, text, integers, booleans and None, memo included, of protocols 2 to 5,
and refuses all others. A global is a name in a table that the caller gives; calling it calls the caller's
function with a tuple, building an object calls its ``build``. Nothing else can be reached.

Memory: a length is compared with the bytes that are left before anything is copied; the number of
instructions is limited; calls may make as many bytes as the pickle has; and no other instruction makes more
than some dozens of bytes beyond those that it copies (references may be repeated, data are not).

Instructions: CPython's ``Lib/pickletools.py``. Byte strings of Python 2 are returned as bytes.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pickletools import opcodes
from typing import TypeAlias

from fedpriv.errors import FormatError

Arguments: TypeAlias = tuple[object, ...]
Names: TypeAlias = Mapping[str, Callable[[Arguments], object] | None]
"""Global to the function that stands for it; None for one that may be named but not called."""

_BYTES = {ord("U"): 1, ord("T"): 4, ord("C"): 1, ord("B"): 4, 0x8E: 8, 0x96: 8}
_TEXT = {0x8C: 1, ord("X"): 4, 0x8D: 8}
_INTEGERS = {ord("K"): 1, ord("M"): 2, ord("J"): 4}
_CONSTANTS = {ord("N"): None, 0x88: True, 0x89: False}
_TUPLES = {ord(")"): 0, 0x85: 1, 0x86: 2, 0x87: 3}
_PUTS = {ord("q"): 1, ord("r"): 4}
_GETS = {ord("h"): 1, ord("j"): 4}
_NAMES = {opcode.code: opcode.name for opcode in opcodes}
_MAX_NAME = 200
_BEYOND_LATIN1 = re.compile(rb"[\xc4-\xff]")


class Refused(ValueError):
    """The pickle is none that may be read; the text is the reason."""


class Buildable(ABC):
    """What a function of the table returns when the pickle gives the state of its object later."""

    __slots__ = ()

    @abstractmethod
    def build(self, state: object) -> None:
        """Take the state; raise :class:`Refused` when it is none."""


class _Name:
    """A global on the stack."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable[[Arguments], object] | None) -> None:
        self.name, self.function = name, function


def load_plain(data: bytes, source: object, names: Names, max_instructions: int) -> object:
    """Return the object that the pickle in ``data`` describes.

    Args:
        data: the pickle; bytes behind its end are ignored, as :mod:`pickle` does.
        source: the file, for error messages.
        names: the globals that it may use.
        max_instructions: how long the program may be.

    Raises:
        FormatError: with the offset of the instruction: it is none of the subset, names a global that is not
            in ``names``, does not find what it needs on the stack, or is one too many; or the data end.
    """
    machine = _Machine(data, names)
    try:
        for _ in range(max_instructions):
            machine.begin = machine.position
            if machine.step():
                return machine.result()
    except ValueError as error:
        raise FormatError(source, machine.begin, str(error)) from error
    raise FormatError(source, machine.position, f"more than {max_instructions} pickle instructions")


class _Machine:
    """Stack, memo and position in the data. Methods raise Refused or another ValueError."""

    def __init__(self, data: bytes, names: Names) -> None:
        self.data, self.names = data, names
        self.begin = self.position = self.made = 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def step(self) -> bool:
        """Run one instruction; True for the last one."""
        code = self.take(1)[0]
        if code in _BYTES:
            self.stack.append(self.take(self.number(_BYTES[code])))
        elif code in _PUTS:
            self.memo[self.number(_PUTS[code])] = self.top()
        elif code == 0x94:  # MEMOIZE
            self.memo[len(self.memo)] = self.top()
        elif code in _GETS:
            self.stack.append(self.recall(self.number(_GETS[code])))
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _INTEGERS:
            self.stack.append(self.number(_INTEGERS[code], signed=code == ord("J")))
        elif code in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[code])))
        elif code in _TEXT:
            self.stack.append(self.text(self.take(self.number(_TEXT[code]))))
        elif code == ord("."):
            return True
        else:
            self.seldom(code)
        return False

    def seldom(self, code: int) -> None:
        """Run an instruction that is not one per image, or refuse it."""
        match code:
            case 0x80:  # PROTO
                if self.number(1) > 5:
                    raise Refused("a pickle protocol above 5")
            case 0x95:  # FRAME
                self.number(8)
            case 0x28:  # MARK
                self.marks.append(len(self.stack))
            case 0x5D:  # EMPTY_LIST
                self.stack.append([])
            case 0x6C:  # LIST
                self.stack.append(self.pop_to_mark())
            case 0x74:  # TUPLE
                self.stack.append(tuple(self.pop_to_mark()))
            case 0x61:  # APPEND
                self.extend(self.pop(1))
            case 0x65:  # APPENDS
                self.extend(self.pop_to_mark())
            case 0x8A:  # LONG1
                self.stack.append(int.from_bytes(self.take(self.number(1)), "little", signed=True))
            case 0x63:  # GLOBAL
                self.name(self.line(), self.line())
            case 0x93:  # STACK_GLOBAL
                self.name(*self.pop(2))
            case 0x52:  # REDUCE
                self.call(*self.pop(2))
            case 0x62:  # BUILD
                (state,) = self.pop(1)
                built = self.top()
                if not isinstance(built, Buildable):
                    raise Refused(f"pickle builds a {type(built).__name__}, which is not allowed")
                built.build(state)
            case _:
                raise Refused(f"pickle instruction {_NAMES.get(chr(code), hex(code))} is not allowed")

    def result(self) -> object:
        """Return the one object that is left."""
        if len(self.stack) != 1 or self.marks:
            raise Refused(f"the pickle ends with {len(self.stack)} objects, need 1")
        return self.stack[0]

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        end = self.position + count
        if not 0 <= count <= len(self.data) - self.position:
            raise Refused(f"{count} bytes announced, {len(self.data) - self.position} are left")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def text(self, raw: bytes) -> str:
        # other text would need up to four bytes of memory for each in the file
        if _BEYOND_LATIN1.search(raw):
            raise Refused("text beyond latin1 is not allowed")
        return raw.decode()

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + _MAX_NAME)
        if end < 0:
            raise Refused("a global's name without an end")
        return self.take(end + 1 - self.position)[:-1].decode()

    def floor(self) -> int:
        """Return how deep the stack may be emptied."""
        return self.marks[-1] if self.marks else 0

    def top(self) -> object:
        if len(self.stack) <= self.floor():
            raise Refused("the pickle's stack is empty")
        return self.stack[-1]

    def pop(self, count: int) -> list[object]:
        place = len(self.stack) - count
        if place < self.floor():
            raise Refused("the pickle's stack is empty")
        taken = self.stack[place:]
        del self.stack[place:]
        return taken

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise Refused("the pickle's stack has no mark")
        place = self.marks.pop()
        taken = self.stack[place:]
        del self.stack[place:]
        return taken

    def recall(self, key: int) -> object:
        if key not in self.memo:
            raise Refused(f"the pickle's memo has no entry {key}")
        return self.memo[key]

    def extend(self, values: list[object]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise Refused(f"the pickle appends to a {type(target).__name__}, which is not allowed")
        target.extend(values)

    def name(self, module: object, attribute: object) -> None:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise Refused("the pickle asks for a global whose name is no text")
        text = f"{module[:_MAX_NAME]}.{attribute[:_MAX_NAME]}"
        if text not in self.names:
            raise Refused(f"the pickle asks for {text[:80]!r}, which is not allowed")
        self.stack.append(_Name(text, self.names[text]))

    def call(self, called: object, arguments: object) -> None:
        if not isinstance(called, _Name) or called.function is None or not isinstance(arguments, tuple):
            shown = called.name if isinstance(called, _Name) else type(called).__name__
            raise Refused(f"the pickle calls a {shown}, which is not allowed")
        value = called.function(arguments)
        if isinstance(value, bytes):
            self.made += len(value)
            if self.made > len(self.data):
                raise Refused("the pickle makes more bytes than it has")
        self.stack.append(value)
