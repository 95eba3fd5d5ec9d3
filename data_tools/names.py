"""Names on disk for people and images, made from labels and from lists that nobody vouches for.

Whatever a list says, a name made here is one component: never empty, absolute, ``..``, hidden, longer
than a file system takes, reserved by Windows, or different from another only in case or in Unicode form.
"""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

MANIFEST = "manifest.jsonl"
JOURNAL = "manifest.jsonl.part"
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_FORBIDDEN = frozenset('<>:"/\\|?*')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_MAX_BYTES = 180
"""Of the 255 that file systems take: room for a mark of distinction and a suffix."""

_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|bmp|webp|gif|tiff?|p[gpn]m)$", re.IGNORECASE)
_DENSE = 1 << 26


def safe_component(raw: str) -> str:
    """Return a harmless file name that resembles ``raw``.

    Unicode is composed (NFC); control, format and unassigned characters, separators and what Windows
    forbids become ``_``; so does a leading dot, for hidden files are not read as images. A name of more
    than 180 bytes of UTF-8 is cut and ends with ``~`` and the head of its SHA-256.
    """
    if _PLAIN.fullmatch(raw) and len(raw) <= _MAX_BYTES and not _RESERVED.fullmatch(raw):
        return raw
    text = "".join(map(_harmless, unicodedata.normalize("NFC", raw))).strip().rstrip(" .")
    if text.startswith("."):
        text = "_" + text[1:]
    if not text or _RESERVED.fullmatch(text):
        text = "_" + text
    if len(text.encode()) > _MAX_BYTES:
        digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        text = f"{text.encode()[: _MAX_BYTES - 9].decode(errors='ignore')}~{digest}"
    return text


def _harmless(character: str) -> str:
    kind = unicodedata.category(character)
    return "_" if character in _FORBIDDEN or kind[0] == "C" or kind in ("Zl", "Zp") else character


def _fold(name: str) -> str:
    """Return what two names share that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


class _Numbers:
    """A set of numbers, one bit each as far as they are below 2^26 (8 MiB in all)."""

    def __init__(self) -> None:
        self._bits, self._large = bytearray(), set[int]()

    def add(self, number: int) -> bool:
        """Add ``number``; return whether it was absent."""
        if number >= _DENSE:
            absent = number not in self._large
            self._large.add(number)
            return absent
        byte, bit = number >> 3, 1 << (number & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(max(byte + 1, 2 * len(self._bits)) - len(self._bits)))
        absent = not self._bits[byte] & bit
        self._bits[byte] |= bit
        return absent


class Namer:
    """Gives every image a folder and a file name; the same images in the same order get the same names.

    Without a list the folder is the label in 8 digits (labels end at 2^24, so that the order of names is
    the order of labels) and the file the record's number in at least 9. With a list they are the last
    folder and the file name of its path; where two people or two images would share a name, the later
    one's ends with ``~`` and its label or the offset of its record.
    """

    def __init__(self, unique_numbers: bool) -> None:
        """Start with nothing named.

        Args:
            unique_numbers: an index vouches that no two images share a number.
        """
        self._unique = unique_numbers
        self._numbers = _Numbers()
        self._folders: dict[tuple[str, int], str] = {}
        self._folders_taken = {MANIFEST, JOURNAL}
        self._files_taken: set[int] = set()

    @property
    def people(self) -> int:
        """Number of folders named so far."""
        return len(self._folders)

    def place(self, label: int, number: int, offset: int, suffix: str, listed: str | None) -> tuple[str, str]:
        """Return folder and file name of one image.

        Args:
            label: class of the image.
            number: its key in the index, or its record's own number.
            offset: of its record.
            suffix: e.g. ``.jpg``.
            listed: its path as the list has it, if there is a list.
        """
        if listed is None:
            stem = f"{number:09d}"
            if not self._unique and not self._numbers.add(number):
                stem += f"~{offset}"
            return self._folder("", label), stem + suffix
        parts = [
            part for part in PurePosixPath(listed.replace("\\", "/")).parts if part not in ("/", "//", "..")
        ]
        folder = self._folder(parts[-2] if len(parts) > 1 else "", label)
        stem = safe_component(_IMAGE_SUFFIX.sub("", parts[-1])) if parts else f"{number:09d}"
        if not self._take_file(folder, stem + suffix):
            stem += f"~{offset}"
            while not self._take_file(folder, stem + suffix):
                stem += "~"
        return folder, stem + suffix

    def _folder(self, raw: str, label: int) -> str:
        known = self._folders.get((raw, label))
        if known is not None:
            return known
        name = safe_component(raw) if raw else f"{label:08d}"
        if _fold(name) in self._folders_taken:
            name += f"~{label}"
            while _fold(name) in self._folders_taken:
                name += "~"
        self._folders_taken.add(_fold(name))
        self._folders[raw, label] = name
        return name

    def _take_file(self, folder: str, name: str) -> bool:
        # 64 bits of a hash: a chance collision among 10^7 images (p = 3e-6) costs a mark, nothing else
        digest = hashlib.blake2b(f"{folder}/{_fold(name)}".encode(), digest_size=8).digest()
        key = int.from_bytes(digest)
        if key in self._files_taken:
            return False
        self._files_taken.add(key)
        return True
