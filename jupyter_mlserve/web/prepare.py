"""``prepare``: somebody is about to publish; what takes longest can begin now."""

from __future__ import annotations

from ..contract.errors import InvalidInput
from ..contract.validation import interpreter
from .base import SERVICES, MLServeHandler, allowed

MAX_IMPORTS = 2000
MAX_NAME = 200


class PrepareHandler(MLServeHandler):
    """``prepare``"""

    @allowed("write", SERVICES)
    async def post(self) -> None:
        """``{"interpreter": {..}, "imports": [module, ..]}``, as in a definition: a hint, 202.

        The stores are opened and the libraries imported beforehand, so that the first trial does
        not wait for that.
        """
        self.node.policy.require(self.principal, "publish")
        body = self.json_body()
        where = interpreter(body.get("interpreter"))
        imports = body.get("imports")
        if where is None:
            raise InvalidInput(field="interpreter", expected="an interpreter", got="none")
        if (
            not isinstance(imports, list)
            or len(imports) > MAX_IMPORTS
            or not all(isinstance(name, str) and len(name) <= MAX_NAME for name in imports)
        ):
            raise InvalidInput(
                field="imports",
                expected=f"an array of at most {MAX_IMPORTS} names of modules",
                got="something else",
            )
        await self.node.core.compute.prepare(where["executable"], imports)
        self.reply({}, 202)
