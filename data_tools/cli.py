"""The command line ``fedpriv-data``: data sets unpacked, looked at, converted, made and split."""

import argparse
import importlib
import io
import sys
from collections.abc import Sequence

from fedpriv import __version__
from fedpriv.arguments import Parser, command_line

_COMMANDS = {
    "extract": (
        "unpack the images of a RecordIO file into one folder per person",
        "fedpriv-data extract --rec train.rec --idx train.idx --lst train.lst --out faces",
    ),
    "inspect": (
        "say what a file, a folder or a data set holds, and draw a sheet of it",
        "fedpriv-data inspect faces --sheet sheet.png\n  fedpriv-data inspect data=orl root=orl_faces",
    ),
    "convert": (
        "turn folders, record files and verification files into one another",
        "fedpriv-data convert faces faces_rec\n  fedpriv-data convert lfw.bin lfw_pairs.rec",
    ),
    "synthesise": (
        "render a data set in the layout of a real one",
        "fedpriv-data synthesise --help",
    ),
    "partition": (
        "show how a data set is split over clients",
        "fedpriv-data partition --help",
    ),
    "list": (
        "name every data set there is: tasks, contents, licence, source",
        "fedpriv-data list\n  fedpriv-data list orl",
    ),
}
_MODULES = {"list": "data_tools.cards"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake is one line and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    with command_line("fedpriv-data"):
        parser = _parser(given[0] if given else "")
        if not given:
            parser.print_help()
            return
        options = parser.parse_args(given)
        options.run(options)


def _parser(chosen: str) -> Parser:
    """Declare all commands; only the module of the chosen one is imported."""
    parser = Parser(
        prog="fedpriv-data",
        description="Data sets unpacked, looked at, converted, made and split.",
        epilog="examples:\n" + "\n".join(f"  {example}" for _, example in _COMMANDS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (purpose, example) in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=purpose,
            description=purpose[0].upper() + purpose[1:] + ".",
            epilog=f"examples:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:
            module = importlib.import_module(_MODULES.get(name, f"data_tools.{name}"))
            module.add_arguments(command)
            command.set_defaults(run=module.main)
    return parser


if __name__ == "__main__":
    main()
