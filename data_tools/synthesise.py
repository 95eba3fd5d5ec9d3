"""``fedpriv-data synthesise``: a data set of rendered people in the layout of a real one."""

import argparse
import importlib
import math
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fedpriv.config.compose import compose_run
from fedpriv.errors import UserError

_PUBLISHED = "evaluation.protocol=published"
_NAMELESS = ("affectnet", "fer2013", "raf_db", "unityeyes")
"""Layouts that name no people: a reader takes every image for one of somebody else."""


@dataclass(frozen=True)
class _Kind:
    """What is rendered.

    Attributes:
        formats: layout to what a run on it needs besides ``data=<layout> data.root=OUT``; the first layout
            is the default.
        people: how many, unless the command line says.
        images: of each, unless the command line says.
    """

    formats: dict[str, str]
    people: int
    images: int


_KINDS = {
    "gaze": _Kind(
        {
            "mpiigaze": "evaluation.protocol=one_person evaluation.fold=0",
            "mpiifacegaze": "evaluation.protocol=one_person evaluation.fold=0",
            "eth_xgaze": "",
            "gazecapture": _PUBLISHED,
            "unityeyes": "",
        },
        people=15,
        images=200,
    ),
    "emotion": _Kind(
        {
            "fer2013": _PUBLISHED,
            "raf_db": _PUBLISHED,
            "affectnet": _PUBLISHED,
            "ck_plus": "evaluation.protocol=folds evaluation.folds={folds} evaluation.fold=0",
        },
        people=60,
        images=70,
    ),
    "face": _Kind({"identity_folder": "", "recordio": "", "lfw": ""}, people=60, images=20),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n"
        "  fedpriv-data synthesise gaze --out eyes\n"
        "  fedpriv-data synthesise emotion --format ck_plus --people 20 --out expressions\n"
        "  fedpriv-data synthesise face --format recordio --people 12 --images-per-person 8 --out faces"
    )
    layouts = "; ".join(f"{kind}: {', '.join(about.formats)}" for kind, about in _KINDS.items())
    parser.add_argument("kind", choices=sorted(_KINDS), help="what is rendered")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--format", metavar="F", help=f"layout; {layouts} (the first by default)")
    parser.add_argument("--people", type=int, metavar="N", help="number of people")
    parser.add_argument("--images-per-person", type=int, metavar="M", help="images of each")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything random (default 0)")


def main(options: argparse.Namespace) -> None:
    """Write the data set and say how to train on it.

    Raises:
        UserError: an argument is out of range, or ``--out`` is not empty or cannot be written.
    """
    about = _KINDS[options.kind]
    layout = options.format or next(iter(about.formats))
    if layout not in about.formats:
        raise UserError(f"--format={layout}: {options.kind} has {', '.join(about.formats)}; choose one")
    people = about.people if options.people is None else options.people
    images = about.images if options.images_per_person is None else options.images_per_person
    out: Path = options.out.expanduser().absolute()
    _refuse_used(out)
    writer = importlib.import_module(f"data_tools.synthesise_{options.kind}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # on the same disk, so that the folder gets its name only when it is complete
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
            unfinished = Path(temporary) / "data"
            made = getattr(writer, f"write_{options.kind}")(unfinished, layout, people, images, options.seed)
            _refuse_used(out)
            unfinished.replace(out)
    except OSError as error:
        raise UserError(f"--out={out}: cannot be written ({error.strerror}); name another folder") from error
    # the writer counts where it may leave somebody out
    written, total = made or (people, people * images)
    print(f"{out}: {written:,} people, {total:,} images, laid out as {layout}")
    print(f"  fedpriv-data inspect data={layout} root={shlex.quote(str(out))}")
    for line in _next_steps(options.kind, layout, shlex.quote(str(out)), written, total // written):
        print(f"  {line}")


def _next_steps(kind: str, layout: str, out: str, people: int, images: int) -> list[str]:
    if layout == "lfw":
        return [f"fedpriv evaluate --run RUN_ID data=lfw data.root={out} {_PUBLISHED}"]
    command = f"fedpriv run task={kind} data={layout} data.root={out}"
    extra = _fitting(kind, layout, people, images)
    if extra is None:
        return [f"too few people to train on some and test on others; more --people for `{command}`"]
    steps = [" ".join([command, *extra])]
    if layout == "recordio":
        pairs = f"data=verification_bin data.root={out}/verification.bin {_PUBLISHED}"
        steps.append(f"fedpriv evaluate --run RUN_ID {pairs}")
    return steps


def _fitting(kind: str, layout: str, people: int, images: int) -> list[str] | None:
    """Return what a run on few people needs besides the data; None where no run can be."""
    config = compose_run(f"task={kind}", f"data={layout}", "data.root=unused")
    protocol = _KINDS[kind].formats[layout]
    folds, tested = min(10, people), config.evaluation.test_subjects
    extra = protocol.format(folds=folds).split()
    holders = people * images if layout in _NAMELESS else people
    if layout == "gazecapture":
        trained = sum(person % 5 in (0, 2, 4) for person in range(people)) if people > 1 else 0
    elif protocol == _PUBLISHED:
        validated = max(1, people // 10) if layout == "fer2013" else 0
        trained = (people - max(1, people // 5) - validated) * images
    elif protocol:
        trained = people - math.ceil(people / folds) if "{folds}" in protocol else people - 1
    else:
        if holders - tested < config.federation.min_replies:
            # pairs of different people take two
            tested = max(2, holders // 2)
            extra.append(f"evaluation.test_subjects={tested}")
        trained = holders - tested
    if trained < config.federation.min_replies:
        return None
    if trained < config.federation.clients:
        extra.append(f"federation.clients={trained}")
    return extra


def _refuse_used(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"--out={out}: is no folder; name a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out={out}: is not empty; name a new folder")
