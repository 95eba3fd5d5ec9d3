"""The command line ``fedpriv``: every command imports only what it needs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fedpriv import __version__


def _run(arguments: list[str]) -> None:
    """Run an experiment, or many with -m (Hydra's syntax)."""
    from experiments.run import main as run

    sys.argv = ["fedpriv run", *arguments]
    run()


def _evaluate(arguments: list[str]) -> None:
    """Measure a saved model again, on its own test part or on other data."""
    from experiments.evaluate import main as evaluate

    evaluate(arguments)


def _compare(arguments: list[str]) -> None:
    """Compare runs and sweeps: tables, tests, plots, one report."""
    from experiments.compare import main as compare

    compare(arguments)


def _register(arguments: list[str]) -> None:
    """Put a run's model into MLflow's registry, with its privacy statement."""
    from experiments.register import main as register

    register(arguments)


def _enrol(arguments: list[str]) -> None:
    """Make and collect the keys of real sites."""
    from fedpriv.enrol.command import main as enrol

    enrol(arguments)


def _keys(arguments: list[str]) -> None:
    """Make, show and split the keys of computing on ciphertexts."""
    from fedpriv.keys.command import main as keys

    keys(arguments)


def _privacy(arguments: list[str]) -> None:
    """Show what your images have spent of their privacy, over all runs."""
    from experiments.privacy import main as privacy

    privacy(arguments)


def _faces(arguments: list[str]) -> None:
    """Match faces by a server that cannot read its gallery."""
    from fedpriv.faces.command import main as faces

    faces(arguments)


def _imagediff(arguments: list[str]) -> None:
    """Compare pictures by a server that cannot see them."""
    from fedpriv.imagediff.command import main as imagediff

    imagediff(arguments)


def _stats(arguments: list[str]) -> None:
    """Compute statistics of encrypted tables."""
    from fedpriv.stats.command import main as stats

    stats(arguments)


def _attack(arguments: list[str]) -> None:
    """Attack the protections, e.g. audit a claimed epsilon."""
    from experiments.attack import main as attack

    attack(arguments)


def _relays(arguments: list[str]) -> None:
    """Ask a model through relays that learn nothing of the image."""
    from fedpriv.relays.command import main as relays

    relays(arguments, {"attack": _relays_attack, "demo": _relays_demo})


def _relays_attack(arguments: list[str]) -> None:
    """Run attacks by their names against a constellation of their own."""
    from experiments.attack import relays_by_name as attack

    attack(arguments)


def _relays_demo(arguments: list[str]) -> None:
    """Replay a captured piece, on the original's design and on this one; draw what happened."""
    from fedpriv.attacks.relays.demo import main as demo

    demo(arguments)


def _bench(arguments: list[str]) -> None:
    """Measure speed against the peers."""
    from experiments.bench import main as bench

    bench(arguments)


_RESUME_HELP = """usage: fedpriv resume FOLDER

Go on with an interrupted run after its last finished round, in the same MLflow run. One that ended before its
first round begins anew.

FOLDER is the run's output folder, e.g. outputs/2026-01-31/12-00-00: the one with `checkpoint` in it."""


def _resume(arguments: list[str]) -> None:
    """Go on with an interrupted run: fedpriv resume FOLDER."""
    import signal

    from fedpriv.errors import UserError

    if arguments and arguments[0] in ("-h", "--help"):
        print(_RESUME_HELP)
        return
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise UserError(
            f"resume {' '.join(arguments)}: needs one folder, e.g. fedpriv resume outputs/DATE/TIME"
        )
    folder = Path(arguments[0])
    if not (folder / "checkpoint").is_dir():
        raise UserError(f"{folder}: holds no checkpoint; name the output folder of a run")
    from rich.console import Console

    from fedpriv.runner import resume

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that keys, runs and workers are put away
    _log_to(folder)
    try:
        resume(folder, Console())
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}; choose another") from error


def _log_to(folder: Path) -> None:
    """Log as the run did: on in its own file, and to a console that shows no progress."""
    import logging

    handlers: list[logging.Handler] = [logging.FileHandler(folder / "run.log", delay=True)]
    if not sys.stderr.isatty():
        handlers.append(logging.StreamHandler())
    logging.basicConfig(
        level=logging.INFO,
        format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
        handlers=handlers,
    )
    logging.getLogger("flwr").propagate = False


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "run": _run,
    "resume": _resume,
    "evaluate": _evaluate,
    "compare": _compare,
    "register": _register,
    "enrol": _enrol,
    "keys": _keys,
    "privacy": _privacy,
    "relays": _relays,
    "faces": _faces,
    "imagediff": _imagediff,
    "stats": _stats,
    "attack": _attack,
    "bench": _bench,
}

_HELP = """usage: fedpriv COMMAND ...

Federated learning for private biometrics, version {version}.

commands:
{commands}

examples:
  fedpriv run task=gaze privacy=dp_sgd secure=bfv federation.clients=8
  fedpriv run -m seed=0,1,2 strategy=fedavg,fedprox
  fedpriv resume outputs/2026-01-31/12-00-00
  fedpriv evaluate --run RUN_ID --picture predictions.png
  fedpriv compare --against epsilon=inf --html report.html
  fedpriv register RUN_ID gaze --alias champion
  fedpriv enrol all trial secure=bfv
  fedpriv keys new faces
  fedpriv stats encrypt patients.csv
  fedpriv privacy show
  fedpriv relays up
  fedpriv attack audit --level client
  fedpriv bench engine --json

`fedpriv COMMAND --help` tells more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    from fedpriv.arguments import command_line

    with command_line("fedpriv"):
        _command(list(sys.argv[1:] if arguments is None else arguments))


def _command(given: list[str]) -> None:
    from fedpriv.errors import UserError

    if not given or given[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:9} {function.__doc__}" for name, function in COMMANDS.items())
        print(_HELP.format(version=__version__, commands=commands))
    elif given[0] in ("-V", "--version"):
        print(__version__)
    elif given[0] in COMMANDS:
        COMMANDS[given[0]](given[1:])
    else:
        raise UserError(f"{given[0]}: no such command; choose one of {', '.join(COMMANDS)}")


if __name__ == "__main__":
    main()
