"""``jupyter mlserve``: the command line."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._version import __version__
from . import user

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point. 0: all went well; 1: something failed, and one line says what; 2: the
    command line is wrong; 130: Ctrl-C."""
    from ..contract.errors import MLServeError

    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        return status
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except MLServeError as error:
        if error.traceback:
            print(error.traceback, file=sys.stderr)
        return complain(error.message)


def complain(text: str) -> int:
    print(f"jupyter mlserve: {text}", file=sys.stderr)
    return 1


def run_demo(arguments: argparse.Namespace) -> int:
    from .demo import CellFailed, DemoFailed, ServerFailed, colours, demo

    try:
        return demo(
            once=arguments.once,
            temp=arguments.temp,
            port=arguments.port,
            notebook=arguments.notebook,
        )
    except CellFailed as error:
        print(colours(error.traceback), file=sys.stderr)
        return complain(f"cell {error.number} of the notebook failed: {error.error}")
    except (DemoFailed, ServerFailed) as error:
        return complain(str(error))


def run_publish(arguments: argparse.Namespace) -> int:
    from jupyter_client.kernelspec import NoSuchKernel

    from .publish import publish

    try:
        return publish(
            arguments.notebook,
            server=arguments.server,
            token=arguments.token,
            verify_tls=not arguments.insecure,
            kernel=arguments.kernel,
            timeout=arguments.timeout,
            output=arguments.output,
        )
    except NoSuchKernel as error:
        return complain(
            f"there is no kernel {error.name!r} here; `jupyter kernelspec list` shows those there "
            "are, --kernel NAME chooses one."
        )


def run_list(arguments: argparse.Namespace) -> int:
    from .manage import list_services

    return list_services(client_of(arguments), arguments.name, as_json=arguments.json)


def run_token(arguments: argparse.Namespace) -> int:
    """The token alone, for ``$(jupyter mlserve token)``."""
    print(client_of(arguments).address.token)
    return 0


def run_settings(arguments: argparse.Namespace) -> int:
    """The traits of the extension, as they are written in a configuration file."""
    from ..web.app import MLServeApp

    for name, trait in sorted(MLServeApp.class_own_traits(config=True).items()):
        print(f"c.MLServeApp.{name} = {trait.default_value_repr()}")
        print(textwrap.indent(textwrap.fill(" ".join(trait.help.split()), 92), "    "))
    return 0


def client_of(arguments: argparse.Namespace) -> Any:
    from ..client.deploy import DeployClient

    return DeployClient(arguments.server, auth=arguments.token, verify_tls=not arguments.insecure)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="jupyter mlserve",
        description="Publish notebook functions and models as web services of a Jupyter server.",
    )
    made.add_argument("--version", action="version", version=f"jupyter_mlserve {__version__}")
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="see it work",
        description="Start a headless Jupyter server, run the quickstart notebook in it as an "
        "author would, call the service it publishes over plain HTTP, and keep serving until "
        "Ctrl-C. What was published stays in the user's Jupyter data folder.",
    )
    demo.add_argument(
        "--once", action="store_true", help="do not keep serving; the exit status is the outcome"
    )
    demo.add_argument(
        "--temp", action="store_true", help="use temporary folders, removed at the end"
    )
    demo.add_argument(
        "--port", type=int, metavar="N", help="port of the server (default: a free one)"
    )
    demo.add_argument("--notebook", type=Path, metavar="FILE", help="run this notebook instead")
    demo.set_defaults(run=run_demo)

    publish = commands.add_parser(
        "publish",
        help="run a notebook headlessly and publish what it publishes",
        description="Run a notebook in its own folder and publish what it publishes, for use in "
        "continuous integration. The exit status is 0 only if every cell ran, everything was "
        "published, and there was something to publish. What fails in a cell tagged "
        "raises-exception is expected to: the table says so, and it does not count.",
    )
    publish.add_argument("notebook", type=Path, metavar="NOTEBOOK.ipynb")
    server_options(publish)
    publish.add_argument(
        "--kernel",
        metavar="NAME",
        help="the kernel (default: the notebook's own, else this environment's)",
    )
    publish.add_argument(
        "--timeout", type=int, metavar="SECONDS", help="longest time for one cell (default: none)"
    )
    publish.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the notebook with its outputs here"
    )
    publish.set_defaults(run=run_publish)

    listing = commands.add_parser("list", help="list the services of a server")
    listing.add_argument(
        "name", nargs="?", metavar="NAME", help="the versions of this service only"
    )
    listing.add_argument("--json", action="store_true", help="as the server gives it, for programs")
    server_options(listing)
    listing.set_defaults(run=run_list)

    token = commands.add_parser(
        "token",
        help="print a token for the services of the server, for scripts",
        description="Print a token that opens the services of the running Jupyter server, and not "
        "its kernels and files: export JUPYTER_MLSERVE_TOKEN=$(jupyter mlserve token). It is "
        "another one after every start of the server; accounts (jupyter mlserve user) last.",
    )
    server_options(token)
    token.set_defaults(run=run_token)

    settings = commands.add_parser(
        "settings",
        help="list the settings of the server extension",
        description="List every setting an administrator can make, with its meaning and default. "
        "They go into jupyter_server_config.py, or on the command line of the server.",
    )
    settings.set_defaults(run=run_settings)

    user.add_parser(commands)
    return made


def server_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--server",
        metavar="URL",
        help="the Jupyter server (default: JUPYTER_MLSERVE_URL, else the one that runs)",
    )
    command.add_argument(
        "--token",
        metavar="T",
        help="its token (default: JUPYTER_MLSERVE_TOKEN; of a server on this machine that does "
        "not take that one, its own)",
    )
    command.add_argument(
        "--insecure", action="store_true", help="accept an https certificate nobody vouches for"
    )


if __name__ == "__main__":
    sys.exit(main())
