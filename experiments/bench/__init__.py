"""Benchmarks, one file each: ours and the peer's way interleaved in one run, one JSON object last."""

import importlib
import inspect
import json
import pkgutil

from fedpriv.arguments import Parser


def main(arguments: list[str]) -> None:
    """Run one benchmark; see ``fedpriv bench --help``."""
    names = sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )
    parser = Parser(
        prog="fedpriv bench",
        description="Measure speed against the peers: medians of interleaved runs.",
        epilog="example: fedpriv bench engine --json",
    )
    parser.add_argument("name", choices=names, help="the benchmark")
    parser.add_argument("--json", action="store_true", help="print one JSON object last on standard output")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way (default 5)")
    parser.add_argument(
        "--schemes", help="what the benchmark `secure` runs beside secure=none, e.g. bfv,ckks (default all)"
    )
    parser.add_argument(
        "--seconds", type=float, help="how long the benchmark `relays` loads each way (default 30)"
    )
    parser.add_argument(
        "--in-flight", type=int, metavar="N", help="images that `relays` has under way at once (default 64)"
    )
    parser.add_argument("--rounds", type=int, help="how long the runs of `tracking` are (default 20)")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: give 1 or more")
    module = importlib.import_module(f"{__name__}.{options.name}")
    given = {name: getattr(options, name) for name in ("schemes", "seconds", "in_flight", "rounds")}
    more = {name: value for name, value in given.items() if value is not None}
    for name in more.keys() - inspect.signature(module.measure).parameters.keys():
        flag = "--" + name.replace("_", "-")
        parser.error(f"{flag}: the benchmark {options.name} has none; leave it out")
    if "schemes" in more:
        more["schemes"] = options.schemes.split(",")
        if not set(more["schemes"]) <= set(module.SCHEMES):
            parser.error(f"--schemes {options.schemes}: choose of {','.join(module.SCHEMES)}")
    result = module.measure(options.repeats, **more)
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:28} {value}")
