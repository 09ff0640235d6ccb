"""Who is asking, and may they.

>>> from jupyter_mlserve.access import KernelToken, Policy, Principal, from_jupyter, server_owner
"""

from __future__ import annotations

from .kernel_token import KernelToken
from .policy import Action, Decision, Policy
from .principal import Principal, from_jupyter, server_owner

__all__ = [
    "Action",
    "Decision",
    "KernelToken",
    "Policy",
    "Principal",
    "from_jupyter",
    "server_owner",
]
