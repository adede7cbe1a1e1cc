"""The command line of the local stack: `python -m services.local up`, `down` and so on."""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from services.local import commands
from services.local.commands import up_detached
from services.local.stack import ServiceOptions
from services.local.state import MAX_PORT, StackError, free_ports
from services.settings import ApiSettings

_SIMPLE = {
    "down": commands.down,
    "status": commands.status,
    "environment": commands.environment,
}


def main(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    try:
        return _run(_parser().parse_args(arguments), arguments)
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, arguments: list[str]) -> int:
    folder = options.data.resolve()
    if simple := _SIMPLE.get(options.command):
        return simple(folder)
    if options.command == "demo":
        return commands.demo(folder, _service_options(options))
    if commands.already_up(folder, tell_key=not options.no_key):
        return 0
    if options.detach:
        return up_detached(folder, [word for word in arguments if word != "--detach"])
    return commands.up(folder, _service_options(options), tell_key=not options.no_key)


def _service_options(options: argparse.Namespace) -> ServiceOptions:
    return ServiceOptions(
        api_port=_api_port(options),
        num_slots=options.slots,
        datasets=options.datasets and options.datasets.resolve(),
    )


def _api_port(options: argparse.Namespace) -> int:
    """Return the port that was asked for: by the option, by the environment (`up`), or none."""
    port: int | None = options.api_port
    if port is None and options.command == "up":
        try:
            port = ApiSettings().port
        except ValidationError as error:
            problems = [
                f"NVAE_API_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            ]
            raise StackError("\n".join(problems)) from error
    return port or free_ports(1)[0]


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {MAX_PORT}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.local")
    several = parser.add_subparsers(dest="command", required=True)
    up = several.add_parser("up", help="start the whole stack")
    demo = several.add_parser("demo", help="run the demo on a stack of its own")
    down = several.add_parser("down", help="stop it")
    status = several.add_parser("status", help="say whether it is up")
    environment = several.add_parser("environment", help="print variables that lead to its servers")
    for command in (up, down, status, environment):
        command.add_argument("--data", type=Path, default=Path(".local/stack"))
    demo.set_defaults(data=Path(".local"))
    up.add_argument("--api-port", type=_port, help="default: NVAE_API_PORT, or 8000")
    up.add_argument("--no-key", action="store_true", help=argparse.SUPPRESS)
    demo.add_argument("--api-port", type=_port, help="default: a free one")
    up.add_argument("--detach", action="store_true", help="return once everything is up")
    for command in (up, demo):
        command.add_argument("--slots", type=int, help="default: all GPUs, or else all cores")
        command.add_argument(
            "--datasets", type=Path, help="where `folder` sources are; default: in the data folder"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
