"""Pictures to a gateway, answers printed and drawn: what ``fedpriv relays submit`` does."""

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv.errors import UserError
from fedpriv.relays.outgoing import plain_connection
from fedpriv.serving.answers import Answer, Emotion, Gaze
from fedpriv.serving.image import read_image, within
from fedpriv.serving.overlay import draw_answer

_TIMEOUT_S = 60.0
_MOST_BYTES = 1 << 20
_DRAWN_PIXELS = 128 * 128


def submit(
    url: str, images: Sequence[Path], models: str, folder: Path | None, ca: Path | None = None
) -> Iterator[str]:
    """Ask about pictures one after another and draw each answer.

    Args:
        url: of a gateway.
        images: files.
        models: comma-separated.
        folder: where ``NAME.answer.png`` is written; beside each picture without.
        ca: certificates that an https gateway's must come from; the system's without.

    Yields:
        One line per picture.

    Raises:
        UserError: a file cannot be read, or the gateway refuses or cannot be reached.
    """
    plain_connection(url, ca, _TIMEOUT_S)  # connects to nothing yet: a mistake in the URL shows first
    for path in images:
        content = _content(path)
        picture = read_image(content, path)
        found = _ask(plain_connection(url, ca, _TIMEOUT_S), url, content, models)
        answer = _answer(found["answer"])
        target = (folder or path.parent) / f"{path.stem}.answer.png"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            drawn = draw_answer(within(picture, _DRAWN_PIXELS), answer, caption=path.name)
            temporary = target.with_name(f".{target.name}")
            drawn.save(temporary, "PNG")
            temporary.replace(target)
        except OSError as error:
            raise UserError(f"{target}: {error.strerror or error}; name a folder with --pictures") from error
        yield f"{path}: {_words(answer)}  ({found['milliseconds']:.1f} ms, drawn in {target})"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a picture") from error


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
