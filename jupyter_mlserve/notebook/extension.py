"""``%load_ext jupyter_mlserve`` and ``%unload_ext jupyter_mlserve``."""

from __future__ import annotations

from typing import Any

from . import displays
from .batch_magic import BatchMagics
from .completion import Completion
from .magics import MLServeMagics
from .session import Session

_LOADED = "_jupyter_mlserve"


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, their completion and the displays of what they return.

    Loading twice changes nothing. Nothing is sent anywhere and the client is not imported
    before a magic needs it.
    """
    if getattr(shell, _LOADED, None) is not None:
        return
    session = Session(shell)
    magics = (MLServeMagics(shell, session), BatchMagics(shell, session))
    shell.register_magics(*magics)
    shell.events.register("pre_run_cell", session.before_cell)
    shell.events.register("post_run_cell", session.after_cell)
    completion = Completion(shell, session)
    completion.install()
    displays.register(shell)
    setattr(shell, _LOADED, (magics, session, completion))


def unload_ipython_extension(shell: Any) -> None:
    """Take everything away again that loading added."""
    loaded = getattr(shell, _LOADED, None)
    if loaded is None:
        return
    magics, session, completion = loaded
    shell.events.unregister("pre_run_cell", session.before_cell)
    shell.events.unregister("post_run_cell", session.after_cell)
    completion.remove()
    displays.unregister(shell)
    for one in magics:
        for kind, names in one.magics.items():
            for name in names:
                shell.magics_manager.magics[kind].pop(name, None)
    session.disconnect()
    delattr(shell, _LOADED)
