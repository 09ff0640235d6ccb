"""What runs inside a version's own interpreter. Standard library only, plus dill where it is used.

This package is started by path under the interpreter of the author (Python 3.8 or newer), where
``jupyter_mlserve`` need not be installed; so it imports nothing of ours but itself, and every
import costs start-up time of every worker. ``values`` and ``frames`` are also used by the client.
"""
