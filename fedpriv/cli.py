"""The command line ``fedpriv``: every command imports only what it needs."""

import sys
from collections.abc import Callable, Sequence

from fedpriv import __version__


def _run(arguments: list[str]) -> None:
    """Run an experiment, or many with -m (Hydra's syntax)."""
    from experiments.run import main as run

    sys.argv = ["fedpriv run", *arguments]
    run()


def _bench(arguments: list[str]) -> None:
    """Measure speed against the peers."""
    from experiments.bench import main as bench

    bench(arguments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {"run": _run, "bench": _bench}

_HELP = """usage: fedpriv COMMAND ...

Federated learning for private biometrics, version {version}.

commands:
{commands}

examples:
  fedpriv run task=gaze privacy=dp_sgd secure=bfv federation.clients=8
  fedpriv run -m seed=0,1,2 strategy=fedavg,fedprox
  fedpriv bench engine --json

`fedpriv COMMAND --help` tells more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    from fedpriv.errors import UserError

    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:8} {function.__doc__}" for name, function in COMMANDS.items())
        print(_HELP.format(version=__version__, commands=commands))
        return
    if given[0] in ("-V", "--version"):
        print(__version__)
        return
    try:
        if given[0] not in COMMANDS:
            raise UserError(f"{given[0]}: no such command; choose one of {', '.join(COMMANDS)}")
        COMMANDS[given[0]](given[1:])
    except UserError as error:
        print(f"fedpriv: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
