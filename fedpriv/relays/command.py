"""The command line ``fedpriv relays``."""

import argparse
import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedpriv.arguments import Command, command_parser, run_command
from fedpriv.config.tracking_address import checked_address
from fedpriv.errors import UserError
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.keys import make_folder
from fedpriv.relays.namespaces import PORT, Namespaces
from fedpriv.relays.pinned import pin
from fedpriv.relays.plan import Address, Layout, Plan

_FOLDER = Path("outputs/relays")
_FOLDER_HELP = f"keys (mode 0700), settings and logs; {_FOLDER} without"


def main(arguments: Sequence[str], above: Mapping[str, Command] | None = None) -> None:
    """Run one of the commands.

    Args:
        arguments: the command's name and what follows.
        above: commands of packages that import this one.
    """
    run_command("fedpriv relays", _ABOUT, {**COMMANDS, **(above or {})}, _EXAMPLES, arguments)


def _up(arguments: list[str]) -> None:
    """Start a constellation on loopback: gateway, relays, model server; Ctrl-C stops it."""
    parser = command_parser(
        "fedpriv relays up",
        _up,
        "fedpriv relays up\nfedpriv relays up --adversary --shares 4\n"
        "fedpriv relays up --shares 4 --threshold 3 --gaze outputs/2026-01-31/12-00-00",
    )
    _describes(parser)
    parser.add_argument("--adversary", action="store_true", help="put an adversary in relay a's place")
    parser.add_argument(
        "--namespaces",
        action="store_true",
        help="every service in a network namespace of its own, where only relays reach the model server; "
        "needs root and iproute2, loopback ports without",
    )
    parser.add_argument(
        "--gaze",
        metavar="RUN",
        help="gaze model: output folder, MLflow run id, .npz, models:/NAME/VERSION or NAME@ALIAS; a name is "
        "looked up once, and that version is served",
    )
    parser.add_argument("--emotion", metavar="RUN", help="emotion model, likewise")
    parser.add_argument(
        "--tracking-uri",
        type=checked_address,
        metavar="URI",
        help="MLflow store of run ids and registered models",
    )
    options = parser.parse_args(arguments)
    models = tuple(each for each in (options.gaze, options.emotion) if each)
    pinned = pin(models, options.tracking_uri, options.folder)
    plan = _plan(
        options,
        adversary=options.adversary,
        models=tuple(str(Path(e).absolute()) if Path(e).exists() else e for e in pinned.sources),
        digests=pinned.digests,
        tracking_uri=options.tracking_uri,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the services are ended
    with contextlib.ExitStack() as stack:
        plan, prefix = _apart(plan, stack) if options.namespaces else (plan, None)
        running = stack.enter_context(Constellation(options.folder, plan, prefix))
        print("\n".join([_table(running), *pinned.lines]))
        print(
            f"\nfedpriv relays submit IMAGE --folder {options.folder}    asks about a picture\n"
            "Ctrl-C stops all of it.",
            flush=True,
        )
        while True:
            time.sleep(0.5)
            if service := running.ended():
                raise UserError(f"{service}: ended; see {running.layout.log(service)}")


def _apart(plan: Plan, stack: contextlib.ExitStack) -> tuple[Plan, Callable[[str], Sequence[str]] | None]:
    """Return the plan at addresses of its own, and what starts a process there; as it was if not allowed."""
    namespaces = Namespaces(plan.services)
    try:
        stack.enter_context(namespaces)
    except UserError as error:
        print(f"fedpriv: --namespaces: {error}; on loopback ports instead", file=sys.stderr, flush=True)
        return plan, None
    return dataclasses.replace(plan, addresses=namespaces.addresses), namespaces.prefix


def _submit(arguments: list[str]) -> None:
    """Ask about pictures; print gaze and emotion, and draw them beside each."""
    parser = command_parser(
        "fedpriv relays submit",
        _submit,
        "fedpriv relays submit eye.png\n"
        "fedpriv relays submit *.png --to http://127.0.0.1:8080 --pictures seen",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG, BMP, WebP or PGM")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--to", metavar="URL", help="of a gateway")
    where.add_argument(
        "--folder", type=Path, default=_FOLDER, help=f"of the constellation whose gateway to ask; {_FOLDER}"
    )
    parser.add_argument("--models", default="gaze,emotion", help="what to ask for; gaze,emotion without")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="where to draw; beside each image as IMAGE.answer.png"
    )
    parser.add_argument("--ca", type=Path, metavar="PEM", help="authority of an https gateway's certificate")
    options = parser.parse_args(arguments)
    from fedpriv.relays.submit import submit

    layout = None if options.to else Layout.read(options.folder)
    url = options.to if layout is None else layout.urls.get("gateway", "")
    ca = options.ca or (layout.ca if layout else None)
    for line in submit(url, options.images, options.models, options.pictures, ca):
        print(line, flush=True)


def _keys(arguments: list[str]) -> None:
    """Make the keys and settings of a constellation, without starting it."""
    parser = command_parser(
        "fedpriv relays keys",
        _keys,
        "fedpriv relays keys --folder secrets --relays 4\n"
        "fedpriv relays serve model_server --settings secrets/model_server.json",
    )
    _describes(parser)
    parser.add_argument("--adversary", action="store_true", help="settings of an adversary before relay a")
    parser.add_argument("--clients", type=int, default=1, metavar="N", help="keys besides the gateway's; 1")
    parser.add_argument(
        "--containers",
        action="store_true",
        help=f"each service at its own name (model-server, relay-a...), port {PORT}; on loopback without",
    )
    options = parser.parse_args(arguments)
    plan = _plan(options, adversary=options.adversary, clients=options.clients)
    if options.containers:
        plan = dataclasses.replace(plan, addresses={name: _container(name) for name in plan.services})
    layout = make_folder(options.folder, plan)
    for name, url in layout.urls.items():
        print(f"{name:13} {url:28} {layout.settings(name)}")
    print(
        "Each service needs its settings file and the files that it names, and nothing else. Addresses are\n"
        "in the settings: where a service is, and where others look for it. Run again, it keeps the keys."
    )


def _container(service: str) -> Address:
    return Address(service.replace("_", "-"), PORT, bind="0.0.0.0")  # noqa: S104 - a container is a host


def _serve(arguments: list[str]) -> None:
    """Run one service with the settings that keys made for it."""
    from fedpriv.relays.serve import main as serve

    serve(arguments, "fedpriv relays serve")


def _describes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=_FOLDER, help=_FOLDER_HELP)
    parser.add_argument("--relays", type=int, default=4, metavar="N", help="how many relays; 4")
    parser.add_argument("--shares", type=int, default=3, metavar="N", help="shares of an image; 3")
    parser.add_argument(
        "--threshold", type=int, metavar="T", help="any T shares suffice (Shamir); without, all are needed"
    )
    parser.add_argument("--tls", action="store_true", help="https everywhere, certificates made for it")


def _plan(options: argparse.Namespace, **more: Any) -> Plan:
    numbers = {name: getattr(options, name) for name in ("relays", "shares", "threshold", "tls")}
    return Plan(**numbers, **more)


def _table(running: Constellation) -> str:
    rows = [f"{'service':13} {'address':28} process"]
    rows += [f"{name:13} {url:28} {running.pid(name)}" for name, url in running.urls.items()]
    scheme = running.plan.scheme
    needed = "all are needed" if scheme.kind == "additive" else f"any {scheme.t} suffice"
    return "\n".join([*rows, f"{scheme.n} {scheme.kind} shares per image, {needed}"])


COMMANDS: dict[str, Command] = {
    "up": _up,
    "submit": _submit,
    "keys": _keys,
    "serve": _serve,
}

_ABOUT = "Secret-shared images through relays: no relay learns anything of an image."

_EXAMPLES = """fedpriv relays up --adversary
fedpriv relays submit eye.png"""
