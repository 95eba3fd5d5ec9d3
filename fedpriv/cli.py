"""The command line ``fedpriv``: every command imports only what it needs."""

import argparse
import sys
from collections.abc import Sequence

_EPILOG = """examples:
  fedpriv run task=gaze privacy=dp_sgd secure=bfv federation.clients=8
  fedpriv run -m seed=0,1,2 strategy=fedavg,fedprox
  fedpriv bench engine --json
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    from fedpriv.errors import UserError

    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="fedpriv",
        description="Federated learning for private biometrics.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=sorted(_COMMANDS), help="; ".join(_describe()), metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see `fedpriv COMMAND --help`")
    if not given:
        parser.print_help()
        return
    options = parser.parse_args(given[:1])
    try:
        _COMMANDS[options.command](given[1:])
    except UserError as error:
        print(f"fedpriv: {error}", file=sys.stderr)
        sys.exit(2)


def _run(arguments: list[str]) -> None:
    """Run an experiment (Hydra's syntax)."""
    from experiments.run import main as run

    sys.argv = ["fedpriv run", *arguments]
    run()


def _bench(arguments: list[str]) -> None:
    """Measure speed against the peers."""
    from experiments.bench import main as bench

    bench(arguments)


_COMMANDS = {"run": _run, "bench": _bench}


def _describe() -> list[str]:
    return [f"{name}: {(function.__doc__ or '').rstrip('.')}" for name, function in _COMMANDS.items()]
