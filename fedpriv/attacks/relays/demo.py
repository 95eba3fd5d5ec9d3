"""``fedpriv relays demo``: the original's demonstration, on its own design and on this one."""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

from fedpriv.arguments import Parser
from fedpriv.attacks.relays.demo_runs import ADVERSARY, OriginalRun, OurRun, on_original, on_ours
from fedpriv.attacks.relays.pictures import Row, draw_rows, opened_row, original_row, sealed_row
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.errors import UserError
from fedpriv.formats.files import atomic_output
from fedpriv.metrics.angular import angular_error_deg
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.plan import Plan
from fedpriv.relays.sessions import Unanswered
from fedpriv.scratch import private_folder
from fedpriv.serving.answers import KINDS, Answer, as_dict
from fedpriv.serving.defaults import default_models
from fedpriv.serving.image import GreyImage
from fedpriv.serving.overlay import draw_answer, draw_answers
from fedpriv.sharing.payload import DEFAULT_PAYLOAD_BYTES, pack

_FOLDER = Path("relays-demo")
_SEEN, _ANSWERS, _SUMMARY = "seen.png", "answers.png", "summary.json"
_MADE_BY = "fedpriv relays demo"
_MOST_SUMMARY = 1 << 20
_PEOPLE = (6, 9)
_WITHIN_S = 40.0
_LONG_S = 60.0
_MEANINGS = {
    "taken": "the id is all that is checked",
    "dropped": "its id is not the current one",
    "already_used": "a piece counts once",
    "not_authentic": "the seal binds a piece to its image",
    "wrong_relay": "the schedule names another relay for that share",
}


def main(arguments: Sequence[str]) -> None:
    """Run the demonstration; exit status 1 if a replay was accepted here.

    Raises:
        UserError: the folder is not to be written to, or a service does not start.
    """
    parser = Parser(
        "fedpriv relays demo",
        description="Two eye images, one after another; an adversary at relay a captures its piece of the\n"
        "first and replays it while the second is under way: on the original's design, then here.",
        epilog="examples:\n  fedpriv relays demo\n  fedpriv relays demo --out /tmp/demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=_FOLDER, metavar="FOLDER", help=f"for pictures and summary; {_FOLDER}"
    )
    folder = parser.parse_args(arguments).out
    _check(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the services are ended
    begun = time.monotonic()

    models = default_models()
    eyes = [render_person(0, person, 1).images[0, 0] for person in _PEOPLE]
    said = models.answer(eyes, [KINDS] * len(eyes))
    _tell(f"Two eye images, one after another. Relay {ADVERSARY} is the adversary's, in both designs.\n")

    original = asyncio.run(on_original(eyes, lambda image: models.answer([image], [KINDS])[0]))
    _tell("THE ORIGINAL'S DESIGN: bands of rows in clear, an id as the only check")
    _tell_original(original, said)

    _tell("\nFEDPRIV: additive shares, each sealed to the model server; services start...")
    plan = Plan(adversary=True, server={"set_timeout_s": _LONG_S}, client={"share_s": _LONG_S})
    with private_folder() as private, Constellation(private / "constellation", plan) as running:
        ours = asyncio.run(_in_time(eyes, running))
    _tell_ours(ours, said)

    _write(folder, eyes, original, ours, said)
    kept = not any(each.accepted for each in ours.replays) and list(ours.answers) == said
    summary = _summary(original, ours, said, kept, time.monotonic() - begun)
    with atomic_output(folder / _SUMMARY) as file:
        file.write(json.dumps(summary, indent=1).encode() + b"\n")
    _tell(
        f"\n{folder / _SEEN}     what each relay saw\n{folder / _ANSWERS}  what was answered\n"
        f"{folder / _SUMMARY}"
    )
    if not kept:
        sys.exit(1)


async def _in_time(eyes: Sequence[GreyImage], running: Constellation) -> OurRun:
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await on_ours(eyes, running.layout)
    except TimeoutError as error:
        raise UserError(f"the services did not answer within {_WITHIN_S:.0f} s; run it again") from error
    except (Unanswered, aiohttp.ClientError) as error:
        raise UserError(f"the services did not answer: {error}") from error


def _tell_original(run: OriginalRun, said: Sequence[Answer]) -> None:
    rows = len(run.received[0][ADVERSARY]["image_arr"])
    height = sum(len(band["image_arr"]) for band in run.received[0].values())
    first, second = (", ".join(each.servers) for each in run.slots)
    _tell(f"  image 1 goes through relays {first}: the adversary keeps {rows} of its {height} rows, in clear")
    _tell(f"  image 2 goes through relays {second}; two of three bands are in when image 1's is replayed:")
    _tell_replays(run.replays)
    for number, (answer, right) in enumerate(zip(run.answers, said, strict=True), start=1):
        found = "no answer" if answer is None else _words(answer)
        off = _off(answer, right)
        _tell(f"  image {number}: {found}" + (f"  WRONG, by {off:.1f}°: {_words(right)}" if off else ""))


def _tell_ours(run: OurRun, said: Sequence[Answer]) -> None:
    first, second = (", ".join(sorted(each)) for each in run.envelopes)
    size = len(run.envelopes[0][ADVERSARY])
    _tell(f"  image 1 goes through relays {first}: the adversary keeps one piece, sealed, {size} bytes")
    _tell(f"  image 2 goes through relays {second}; two of three pieces are in when image 1's is replayed:")
    _tell_replays(run.replays)
    for number, (answer, right) in enumerate(zip(run.answers, said, strict=True), start=1):
        same = "the model's own answer" if answer == right else f"WRONG: {_words(right)}"
        _tell(f"  image {number}: {_words(answer)}  {same}")


def _tell_replays(replays: Sequence[Any]) -> None:
    for each in replays:
        verdict = "ACCEPTED" if each.accepted else "refused"
        _tell(
            f"    {each.how + ':':24} {verdict}, {each.cause}: {_MEANINGS.get(each.cause, '')}".rstrip(": ")
        )


def _words(answer: Answer) -> str:
    parts = []
    if answer.gaze is not None:
        pitch, yaw = np.degrees([answer.gaze.pitch, answer.gaze.yaw])
        parts.append(f"pitch {pitch:+.1f}° yaw {yaw:+.1f}°")
    if answer.emotion is not None:
        parts.append(answer.emotion.label)
    return ", ".join(parts)


def _off(answer: Answer | None, right: Answer) -> float | None:
    """Return by how many degrees a gaze differs from the right one; None where it does not."""
    if answer is None or answer.gaze is None or right.gaze is None or answer == right:
        return None
    pairs = [(each.gaze.pitch, each.gaze.yaw) for each in (answer, right) if each.gaze is not None]
    return float(angular_error_deg(*pairs))


def _write(
    folder: Path,
    eyes: Sequence[GreyImage],
    original: OriginalRun,
    ours: OurRun,
    said: Sequence[Answer],
) -> None:
    rows: list[Row] = []
    for number, eye in enumerate(eyes):
        row = original_row(eye, original.received[number], original.slots[number].servers)
        rows.append(replace(row, title=f"Image {number + 1}. {row.title}"))
    for number, eye in enumerate(eyes):
        row = sealed_row(eye, ours.envelopes[number])
        rows.append(replace(row, title=f"Image {number + 1}. {row.title}"))
    # shares of its own: what was sealed on the way, nobody but the model server could open
    shares = Plan().scheme.split(pack(eyes[-1], (0,), DEFAULT_PAYLOAD_BYTES))
    row = opened_row(eyes[-1], dict(zip(ours.envelopes[-1], shares, strict=True)))
    rows.append(replace(row, title=f"Image {len(eyes)}. {row.title}"))

    drawn = []
    for number, eye in enumerate(eyes):
        answer, right = original.answers[number], said[number]
        title = f"original, image {number + 1}"
        wrong = "" if answer == right else ": a picture nobody sent"
        drawn.append(draw_answer(original.images[number], answer or Answer(), title + wrong))
        drawn.append(draw_answer(eye, ours.answers[number], f"fedpriv, image {number + 1}"))
    _save(draw_rows(rows), folder / _SEEN)
    _save(draw_answers(drawn), folder / _ANSWERS)


def _summary(
    original: OriginalRun, ours: OurRun, said: Sequence[Answer], kept: bool, seconds: float
) -> dict[str, Any]:
    return {
        "made_by": _MADE_BY,
        "replay_refused": kept,
        "seconds": round(seconds, 1),
        "model": [as_dict(answer) for answer in said],
        "original": {
            "relays": [list(each.servers) for each in original.slots],
            "replays": [asdict(each) for each in original.replays],
            "answers": [None if answer is None else as_dict(answer) for answer in original.answers],
            "gaze_off_deg": [
                round(_off(answer, right) or 0.0, 3)
                for answer, right in zip(original.answers, said, strict=True)
            ],
        },
        "fedpriv": {
            "relays": [list(each) for each in ours.envelopes],
            "replays": [asdict(each) for each in ours.replays],
            "answers": [as_dict(answer) for answer in ours.answers],
            "answers_are_the_models": list(ours.answers) == said,
        },
    }


def _check(folder: Path) -> None:
    """Make the folder, unless it holds files of these names that no demonstration wrote."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [name for name in (_SEEN, _ANSWERS, _SUMMARY) if (folder / name).exists()]
        if taken and not _is_ours(folder / _SUMMARY):
            raise UserError(f"{folder / taken[0]}: is there, and no demo's; name another folder with --out")
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; name another folder with --out") from error


def _is_ours(path: Path) -> bool:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_SUMMARY:
            return False
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("made_by") == _MADE_BY


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_output(path) as file:
        picture.save(file, "PNG")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
