"""What Jupyter's router finds at our addresses: handlers behind a guard, and exchanges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tornado import httputil
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from .exchange import Exchange
from .refusal import Guard

if TYPE_CHECKING:
    from .node import WebNode


# What the limit of most bodies is called.
TRAIT = "max_definition_size"


class Target(Router):
    """A router target that stands for a handler class.

    Jupyter inspects the verbs of every target, to see that they are decorated: it sees those of
    the handler class.
    """

    def __init__(
        self,
        node: WebNode,
        application: Application,
        handler_class: type[RequestHandler],
        limit: int | None = None,
    ) -> None:
        """``limit``: most bytes of a body, where it is not ``max_definition_size``."""
        self.node = node
        self.application = application
        self.handler_class = handler_class
        self.limit = limit

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.handler_class, name)

    def find_handler(
        self, request: httputil.HTTPServerRequest, **kwargs: Any
    ) -> httputil.HTTPMessageDelegate:
        delegate = self.application.get_handler_delegate(
            request, self.handler_class, path_args=kwargs.get("path_args")
        )
        if self.limit is not None:
            return Guard(delegate, request, self.limit)
        return Guard(delegate, request, self.node.settings.max_definition_size, TRAIT)


class ExchangeTarget(Target):
    """A target whose ``verbs`` are served by an exchange, and the others by the handler class."""

    def __init__(
        self,
        node: WebNode,
        application: Application,
        exchange_class: type[Exchange],
        *verbs: str,
    ) -> None:
        super().__init__(node, application, exchange_class.handler_class)
        self.exchange_class = exchange_class
        self.verbs = verbs

    def find_handler(
        self, request: httputil.HTTPServerRequest, **kwargs: Any
    ) -> httputil.HTTPMessageDelegate:
        if request.method in self.verbs:
            args = [a for a in kwargs.get("path_args") or () if a is not None]
            try:
                path_args = tuple([a.decode("utf-8") for a in args])
            except UnicodeDecodeError:
                path_args = ("\ufffd",) * len(args)  # no valid name; refused as such
            return self.exchange_class(self.node, self.application, request, path_args)
        return super().find_handler(request, **kwargs)
