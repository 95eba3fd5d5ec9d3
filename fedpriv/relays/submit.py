"""Pictures to a gateway, answers printed and drawn: what ``fedpriv relays submit`` does."""

import http.client
import io
import json
import os
import stat
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv.errors import UserError
from fedpriv.formats.identity_folder import MAX_FILE_BYTES
from fedpriv.services.outgoing import plain_connection
from fedpriv.serving.answers import Answer, Emotion, Gaze
from fedpriv.serving.image import GreyImage, as_picture, read_image, within
from fedpriv.serving.overlay import draw_answer

_TIMEOUT_S = 60.0
_MOST_BYTES = 1 << 20
_DRAWN_PIXELS = 128 * 128


def submit(
    url: str, images: Sequence[Path], models: str, folder: Path | None, ca: Path | None = None
) -> Iterator[str]:
    """Ask about pictures one after another and draw each answer.

    Guarantee:
        - Sizes and names of all files are checked before the first is asked about.
        - A picture leaves this machine decoded, grey and with sides of at most 128.

    Args:
        url: of a gateway.
        images: files.
        models: comma-separated.
        folder: where ``NAME.answer.png`` is written; beside each picture without.
        ca: certificates that an https gateway's must come from; the system's without.

    Yields:
        One line per picture.

    Raises:
        UserError: a file cannot be read, two answers would be drawn in one file, or the gateway refuses
            or cannot be reached.
    """
    plain_connection(url, ca, _TIMEOUT_S)  # connects to nothing yet: a mistake in the URL shows first
    targets = _targets(images, folder)
    for path in images:
        _check_file(path)
    for path, target in targets.items():
        picture = within(read_image(_content(path), path), _DRAWN_PIXELS)
        found = _ask(plain_connection(url, ca, _TIMEOUT_S), url, _png(picture), models)
        answer = _answer(found["answer"])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            drawn = draw_answer(picture, answer, caption=path.name)
            temporary = target.with_name(f".{target.name}")
            drawn.save(temporary, "PNG")
            temporary.replace(target)
        except OSError as error:
            raise UserError(f"{target}: {error.strerror or error}; name a folder with --pictures") from error
        yield f"{path}: {_words(answer)}  ({found['milliseconds']:.1f} ms, drawn in {target})"


def _targets(images: Sequence[Path], folder: Path | None) -> dict[Path, Path]:
    """Return where the answer to each picture is drawn: each in a file of its own."""
    asked = {_name(path) for path in images}
    drawn: dict[str, Path] = {}
    targets: dict[Path, Path] = {}
    for path in images:
        target = (folder or path.parent) / f"{path.stem}.answer.png"
        name = _name(target)
        if name in asked:
            raise UserError(f"{target}: is where the answer to {path} is drawn; do not ask about it too")
        if name in drawn:
            raise UserError(
                f"{path}: its answer and that to {drawn[name]} would both be drawn in {target}; "
                "ask about one at a time, each with --pictures of its own"
            )
        drawn[name] = path
        targets[path] = target
    return targets


def _name(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() raises at a circle of links


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a picture") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is no file; name a picture")
    if found.st_size > MAX_FILE_BYTES:
        raise UserError(f"{path}: {found.st_size} bytes, the limit is {MAX_FILE_BYTES}; save it smaller")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a picture") from error


def _png(picture: GreyImage) -> bytes:
    """Return what a gateway needs of a picture: a few kilobytes, and nothing that its file told besides."""
    found = io.BytesIO()
    as_picture(picture).save(found, "PNG")
    return found.getvalue()


def _ask(connection: http.client.HTTPConnection, url: str, content: bytes, models: str) -> dict[str, Any]:
    try:
        target = f"/v1/images?{urllib.parse.urlencode({'models': models})}"
        connection.request("POST", target, content, {"content-type": "application/octet-stream"})
        response = connection.getresponse()
        found = json.loads(response.read(_MOST_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f"{url}: {error}; see that the gateway runs (`fedpriv relays up`)") from error
    finally:
        connection.close()
    if response.status != 200 or not isinstance(found, dict):
        said = found if isinstance(found, dict) else {}
        raise UserError(f"gateway: {said.get('cause', response.status)}: {said.get('detail', '')}")
    return found


def _answer(found: dict[str, Any]) -> Answer:
    gaze, emotion = found.get("gaze"), found.get("emotion")
    return Answer(
        None if gaze is None else Gaze(**gaze),
        None if emotion is None else Emotion(**{**emotion, "probabilities": tuple(emotion["probabilities"])}),
    )


def _words(answer: Answer) -> str:
    parts = []
    if answer.gaze is not None:
        pitch, yaw = np.degrees([answer.gaze.pitch, answer.gaze.yaw])
        parts.append(f"gaze pitch {pitch:+.1f}° yaw {yaw:+.1f}°")
    if answer.emotion is not None:
        parts.append(f"emotion {answer.emotion.label} ({100 * max(answer.emotion.probabilities):.0f} %)")
    return ", ".join(parts)
