"""Benchmarks, one file each: ours and the peer's way interleaved in one run, one JSON object last."""

import importlib
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
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: give 1 or more")
    module, more = importlib.import_module(f"{__name__}.{options.name}"), {}
    if options.schemes is not None:
        known = getattr(module, "SCHEMES", ())
        more["schemes"] = options.schemes.split(",")
        if not known:
            parser.error(f"--schemes: the benchmark {options.name} has none; leave it out")
        if not set(more["schemes"]) <= set(known):
            parser.error(f"--schemes {options.schemes}: choose of {','.join(known)}")
    result = module.measure(options.repeats, **more)
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:28} {value}")
