"""How large a definition may be. A definition is read whole, by several processes, many times.

Bundles (objects and files) are not bounded here: the server's upload and storage limits are.
Texts are counted in characters unless a name says bytes.
"""

from __future__ import annotations

MAX_NAME = 128  # service names, identifiers
MAX_VERSION = 64
MAX_FILE_NAME = 200
MAX_COLUMN_NAME = 256

MAX_INPUTS = 256
MAX_OUTPUTS = 256
MAX_COLUMNS = 4096  # of one frame
MAX_OBJECTS = 1000
MAX_FILES = 1000
MAX_PRELUDE = 5000
MAX_PACKAGES = 2000

MAX_DESCRIPTION = 10_000
MAX_CODE = 4 * 1024 * 1024  # code, init code, source, and all prelude sources together
MAX_VALUE_BYTES = 256 * 1024  # a sample, or one default, as JSON
MAX_VALUE_DEPTH = 64  # nested lists and objects in a sample or default
MAX_PATH = 4096  # interpreter and notebook paths
MAX_SHORT_TEXT = 256  # versions, type names, cell ids

MAX_POOL = 256  # workers of one version
MAX_SIZE = 2**53 - 1  # bytes of one blob; the largest integer every JSON reader keeps exactly
