"""Run by Alembic. It uses the connection it is given, inside the transaction that is open there.

There is no alembic.ini: the host's logging stays as the host has set it up.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
