"""The magic for batches: its options and help. What it does is in ``batch.py``."""

# IPython's decorators carry no types.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, kwds, magic_arguments

from . import help_texts as say
from .arguments import parse
from .failures import plainly
from .session import Session


@magics_class
class BatchMagics(Magics):
    """Have a service answer many records, in the background."""

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell=shell)
        self.session = session

    @no_var_expand
    @magic_arguments()
    @kwds(epilog=say.BATCH)
    @argument("name", metavar="NAME", help=say.NAME)
    @argument(
        "records",
        metavar="RECORDS",
        nargs="?",
        help="the records: a variable or an expression, for example cars or cars[['hp','wt']]; a"
        " DataFrame, a dict of lists, a list of dicts. Its columns are the inputs of the service"
        " or, if it takes one frame, the columns of that. Or, in quotes, the path of a file:"
        " 'cars.csv' (also .jsonl, .json, .parquet, .arrow)",
    )
    @argument("-v", "--version", metavar="V", help=say.NEWEST)
    @argument(
        "-p",
        "--parallel",
        metavar="N",
        type=int,
        help="how many records may be worked on at a time (default: 10); the server may lower it",
    )
    @argument(
        "--into",
        metavar="VARIABLE",
        help="store the results in this variable: a DataFrame with the index of the records, a"
        " column for each output, and the column error, which says why a record failed",
    )
    @argument(
        "--id",
        metavar="ID",
        help="a batch that was started before (its first letters are enough): watch it, or fetch"
        " its results, also after a restart of the kernel or from another notebook. RECORDS, if"
        " given, lend the results their index; nothing is sent",
    )
    @argument(
        "--list", action="store_true", help="list your batches of the service, the newest first"
    )
    @argument(
        "--cancel",
        action="store_true",
        help="with --id: stop the batch, and delete it with its results",
    )
    @argument(
        "--detach",
        action="store_true",
        help="start and do not wait: the result is the batch itself, for batch.wait() and"
        " batch.to_frame()",
    )
    @argument("-q", "--quiet", action="store_true", help="show no progress and no summary")
    @line_magic
    @plainly
    def batch_service(self, line: str) -> Any:
        """Have a service answer many records in the background, and watch it.

        %batch_service TxService cars --version 1.0 --into out
        """
        from .batch import batch_service

        return batch_service(self.session, parse(self.batch_service, line))
