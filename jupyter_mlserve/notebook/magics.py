"""The magics: their options and help. What they do is in ``publish.py`` and ``manage.py``.

This module is all that ``%load_ext jupyter_mlserve`` imports besides IPython; the client, dill
and pandas come with the first magic that needs them.
"""

# IPython's decorators carry no types.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from argparse import BooleanOptionalAction
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, kwds, magic_arguments

from . import help_texts as say
from .arguments import parse
from .failures import plainly
from .session import Session


@magics_class
class MLServeMagics(Magics):
    """Publish cells as web services of the Jupyter server, and manage and call them."""

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell=shell)
        self.session = session

    @no_var_expand
    @magic_arguments("%publish_service")
    @kwds(
        epilog="""\
The cell is one of two things:
  a cell that ends in a function: it is run in the notebook, and that function is the service.
  Types come from its annotations; -i and -o win over them.
  any other cell, a script: its free variables named in -i are the inputs, variables named in -o
  are the outputs. It is not run in the notebook.

What the code uses and does not define travels with it: imports, functions, models, data. See what
that is without sending anything: --dry-run.

A long first line can be continued with a backslash at its end.

In Python:
  from jupyter_mlserve import DeployClient
  client = DeployClient()
  client.deploy_service("TxService", version="1.0", code_fn=manual_transmission,
                        inputs={"hp": float, "wt": float}, outputs={"answer": "DataFrame"},
                        models={"model": model}, artifacts=["answer.csv"],
                        sample={"hp": 120, "wt": 2.8})
"""
    )
    @argument("name", metavar="NAME", help=say.NAME)
    @argument("-v", "--version", metavar="V", help=say.GUID)
    @argument("-i", "--inputs", metavar="INPUTS", help=say.INPUTS)
    @argument("-o", "--outputs", metavar="OUTPUTS", help=say.OUTPUTS)
    @argument("--artifact", metavar="FILE", action="append", default=[], help=say.ARTIFACT)
    @argument(
        "--file",
        metavar="PATH",
        action="append",
        default=[],
        help="a file that the code reads: it travels along and stands in the working directory of"
        " every call (may be given several times)",
    )
    @argument(
        "--object",
        metavar="NAME",
        action="append",
        default=[],
        help="a variable that must travel although it is not found by itself, or looks like a"
        " secret (may be given several times)",
    )
    @argument(
        "--exclude",
        metavar="NAME",
        action="append",
        default=[],
        help="a name that must not travel although the code uses it (may be given several times)",
    )
    @argument("--alias", metavar="A", help=say.ALIAS + " (default: the function's own name)")
    @argument("-d", "--description", metavar="TEXT", help=say.DESCRIPTION)
    @argument("-s", "--sample", metavar="INPUTS", help=say.SAMPLE)
    @argument(
        "--function",
        metavar="NAME",
        help="the cell defines functions, and this one is the service (default: the last one)",
    )
    @argument(
        "--script", action="store_true", help="take the cell as a script although it ends in a def"
    )
    @argument(
        "--init",
        metavar="NAME",
        help="a function of the notebook, without arguments, that is run once in every worker"
        " before its first call",
    )
    @argument(
        "-u",
        "--update",
        action="store_true",
        help=say.UPDATE
        + " description, alias, artifacts, sample and --batchable stay where none is given",
    )
    @argument(
        "-n",
        "--dry-run",
        action="store_true",
        help="show what would travel and what would be refused; send nothing",
    )
    @argument("--pool-initial", metavar="N", type=int, help=say.POOL + " that are started at once")
    @argument("--pool-max", metavar="N", type=int, help=say.POOL + " at most")
    @argument("--batchable", action=BooleanOptionalAction, help=say.BATCHABLE)
    @cell_magic
    @plainly
    def publish_service(self, line: str, cell: str) -> Any:
        """Publish this cell as a web service.

        %%publish_service TxService --version 1.0 -i "hp: float, wt: float" -o "answer: DataFrame"
        """
        from .publish import continued, publish_cell

        line, cell = continued(line, cell)
        return publish_cell(self.session, parse(self.publish_service, line), cell)

    @no_var_expand
    @magic_arguments()
    @kwds(epilog=say.REALTIME)
    @argument("name", metavar="NAME", help=say.NAME)
    @argument(
        "model",
        metavar="MODEL",
        help="the fitted model: a variable or an expression, for example pipeline or"
        " search.best_estimator_. Estimators and pipelines of scikit-learn, LightGBM, XGBoost",
    )
    @argument("-v", "--version", metavar="V", help=say.GUID)
    @argument(
        "-s",
        "--sample",
        metavar="FRAME",
        help="rows that the model was trained on, to prove it: a variable or an expression, for"
        " example flats or flats.tail(500). Its columns are the service's inputs; the response may"
        " be among them (default: the frame of the notebook that has the model's columns)",
    )
    @argument(
        "--response",
        metavar="COLUMN",
        help="the name of the predicted variable (default: the one column of the sample that is"
        " no input of the model and holds what it predicts; with --update the name that the live"
        " version has)",
    )
    @argument("--alias", metavar="A", help=say.ALIAS + " (default: consume)")
    @argument("-d", "--description", metavar="TEXT", help=say.DESCRIPTION)
    @argument(
        "-u", "--update", action="store_true", help=say.UPDATE + " description and alias stay where"
        " none is given"
    )  # fmt: skip
    @argument(
        "-n",
        "--dry-run",
        action="store_true",
        help="compile the model, prove it and show the proof; send nothing",
    )
    @line_magic
    @plainly
    def publish_realtime(self, line: str) -> Any:
        """Publish a fitted model as a realtime service: compiled, proven, without an interpreter.

        %publish_realtime Rent pipeline --version 1.0 --sample flats --response rent
        """
        from .realtime import publish_model

        return publish_model(self.session, parse(self.publish_realtime, line))

    @no_var_expand
    @magic_arguments()
    @kwds(
        epilog="""\
In Python:
  DeployClient().list_services()             # all; a list of dicts
  DeployClient().list_services("TxService")  # all versions of one, oldest first
"""
    )
    @argument("name", metavar="NAME", nargs="?", help="only the versions of this service")
    @line_magic
    @plainly
    def list_services(self, line: str) -> Any:
        """List the services of the server with their versions, newest first.

        %list_services
        """
        from .manage import list_services

        return list_services(self.session, parse(self.list_services, line).name)

    @no_var_expand
    @magic_arguments()
    @kwds(
        epilog="""\
The result is the service itself: svc = %show_service TxService, then svc.consume(hp=120, wt=2.8).

In Python:
  svc = DeployClient().get_service("TxService", version="1.0")
  svc.capabilities(); svc.swagger()
  DeployClient().history("TxService", "1.0")
"""
    )
    @argument("name", metavar="NAME", help=say.NAME)
    @argument("-v", "--version", metavar="V", help=say.NEWEST)
    @argument("--code", action="store_true", help="show the code (authors and owners only)")
    @argument(
        "--history",
        action="store_true",
        help="show who made what live, and when: of the version or, if none is named, of all",
    )
    @line_magic
    @plainly
    def show_service(self, line: str) -> Any:
        """Show one service: what it takes and gives, and how to call it.

        svc = %show_service TxService --version 1.0
        """
        from .manage import show_service

        return show_service(self.session, parse(self.show_service, line))

    @no_var_expand
    @magic_arguments()
    @kwds(
        epilog="""\
Inputs are written name=value, with blanks between. A value is a Python literal (120, 'text',
[1, 2, 3]) or the name of a variable of the notebook, a DataFrame for example. The input of a
realtime service is inputData: %consume_service Rent inputData=flats.
The result is the reply: reply = %consume_service TxService hp=120 wt=2.8, then
reply.output("answer"), reply.artifact("answer.csv"), reply.console_output.

In Python:
  svc = DeployClient().get_service("TxService", version="1.0")
  reply = svc.consume(hp=120, wt=2.8)
"""
    )
    @argument("name", metavar="NAME", help=say.NAME)
    @argument("-v", "--version", metavar="V", help=say.NEWEST)
    @argument(
        "--input",
        metavar="VARIABLE",
        help="a variable that holds the inputs: a dict of name to value or, for a service with one"
        " input, that input itself",
    )
    @argument(
        "--into",
        metavar="VARIABLE",
        help="store the output in this variable (several outputs: a dict of name to value)",
    )
    @line_magic
    @plainly
    def consume_service(self, line: str) -> Any:
        """Call a service with inputs NAME=VALUE and show its reply.

        %consume_service TxService --version 1.0 hp=120 wt=2.8
        """
        from .manage import consume_service

        return consume_service(self.session, parse(self.consume_service, line, gather=True))

    @no_var_expand
    @magic_arguments()
    @kwds(
        epilog="""\
Only what is named is changed. Code, models and files are changed by publishing the cell again:
%%publish_service NAME --version V --update; the model of a realtime service by
%publish_realtime NAME MODEL --version V --update. Calls that are running finish on the old state,
and %rollback_service brings it back.

In Python:
  DeployClient().update("TxService", "1.0", description="What it does now")
"""
    )
    @argument("name", metavar="NAME", help=say.NAME)
    @argument("-v", "--version", metavar="V", required=True, help=say.VERSION)
    @argument("-d", "--description", metavar="TEXT", help=say.DESCRIPTION)
    @argument("--alias", metavar="A", help=say.ALIAS)
    @argument("-i", "--inputs", metavar="INPUTS", help=say.INPUTS)
    @argument("-o", "--outputs", metavar="OUTPUTS", help=say.OUTPUTS)
    @argument("--artifact", metavar="FILE", action="append", help=say.ARTIFACT)
    @argument("-s", "--sample", metavar="INPUTS", help=say.SAMPLE)
    @argument("--pool-initial", metavar="N", type=int, help=say.POOL + " that are started at once")
    @argument("--pool-max", metavar="N", type=int, help=say.POOL + " at most")
    @argument("--batchable", action=BooleanOptionalAction, help=say.BATCHABLE)
    @line_magic
    @plainly
    def update_service(self, line: str) -> Any:
        """Change a part of a published version; what is not named stays as it is.

        %update_service TxService --version 1.0 -d "What it does now"
        """
        from .manage import update_service

        return update_service(self.session, parse(self.update_service, line))

    @no_var_expand
    @magic_arguments()
    @kwds(
        epilog="""\
The states of a version are numbered 1, 2, 3...: %show_service NAME --version V --history.
Without --to, the previous state is the one that was live before this one: after a rollback that is
the state it came from, so a second rollback goes forward again. --to N names any of them.

In Python:
  DeployClient().rollback("TxService", "1.0")           # the previous state
  DeployClient().rollback("TxService", "1.0", state=1)
"""
    )
    @argument("name", metavar="NAME", help=say.NAME)
    @argument("-v", "--version", metavar="V", required=True, help=say.VERSION)
    @argument(
        "--to",
        metavar="STATE",
        type=int,
        help="number of the state (default: the one that was live before this one)",
    )
    @line_magic
    @plainly
    def rollback_service(self, line: str) -> Any:
        """Make an earlier state of a version live again.

        %rollback_service TxService --version 1.0
        """
        from .manage import rollback_service

        return rollback_service(self.session, parse(self.rollback_service, line))

    @no_var_expand
    @magic_arguments()
    @kwds(
        epilog="""\
Calls to a deleted version are answered with 410 Gone. Other versions stay.

In Python:
  DeployClient().delete_service("TxService", version="1.0")
"""
    )
    @argument("name", metavar="NAME", help=say.NAME)
    @argument("-v", "--version", metavar="V", required=True, help=say.VERSION)
    @line_magic
    @plainly
    def delete_service(self, line: str) -> Any:
        """Delete one version of a service.

        %delete_service TxService --version 1.0
        """
        from .manage import delete_service

        return delete_service(self.session, parse(self.delete_service, line))

    @no_var_expand
    @magic_arguments()
    @kwds(
        epilog="""\
Without connect, the server that started this kernel is found by itself. A token written in a cell
is saved with the notebook: rather set JUPYTER_MLSERVE_TOKEN, or let --ask ask for it.

In Python:
  client = DeployClient("http://127.0.0.1:8888/", auth=token)
"""
    )
    @argument(
        "action",
        metavar="ACTION",
        nargs="?",
        default="status",
        choices=["connect", "status", "disconnect"],
        help="connect to a server, show its status (the default), or forget it",
    )
    @argument("url", metavar="URL", nargs="?", help="the Jupyter server, with its base URL")
    @argument("--token", metavar="T", help="its token (default: JUPYTER_MLSERVE_TOKEN)")
    @argument("--ask", action="store_true", help="ask for the token; it is not shown or saved")
    @argument(
        "--insecure",
        action="store_true",
        help="accept an https certificate that nobody vouches for (a server of your own)",
    )
    @line_magic
    @plainly
    def mlserve(self, line: str) -> Any:
        """Choose the server that the magics talk to, and see how it is.

        %mlserve connect http://127.0.0.1:8888/ --ask
        """
        from .manage import mlserve

        return mlserve(self.session, parse(self.mlserve, line))
