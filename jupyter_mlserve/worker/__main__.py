"""Start of a worker: ``INTERPRETER .../worker/__main__.py FD PARENT_PID SIGNAL [fork]``.

Run by path under the author's interpreter, which need not know ``jupyter_mlserve``. FD is the
connected socket, PARENT_PID the compute node, SIGNAL what asks for the place of a stuck call;
``fork`` makes a fork server instead.
"""

from __future__ import annotations

import sys

PACKAGE = "_mlserve_worker"


def load_package() -> None:
    """Make this folder importable as ``_mlserve_worker``, and by no other name.

    Python put the folder on the path; there it would shadow the author's own ``values``.
    """
    import os
    import types

    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    package = types.ModuleType(PACKAGE)
    package.__path__ = [here]
    sys.modules[PACKAGE] = package


def main() -> None:
    load_package()
    from importlib import import_module

    fd, parent, signum = (int(word) for word in sys.argv[1:4])
    limits = import_module(PACKAGE + ".limits")
    limits.die_with_parent(parent)
    if sys.argv[4:] == ["fork"]:
        import_module(PACKAGE + ".forkserver").main(fd, parent, signum)
        return
    limits.show_place_on(signum)

    import socket

    import_module(PACKAGE + ".serve").Worker(socket.socket(fileno=fd)).run()


if __name__ == "__main__":
    main()
