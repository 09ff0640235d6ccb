"""What becomes of a text before the compiled model sees it: one function for kernel and runtime.

The kernel proves a model with :func:`value_function`, and the runtime serves it with the same, so
what was proven is what is served. The steps themselves are trusted code of ours; a header only
says which, as plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class StepFailed(ValueError):
    """A step cannot make anything of a value: its content is at fault, not the service.

    The text is one sentence without its full stop, such as "it is not base64 text"; callers say
    in which column and row.
    """


def value_function(item: Mapping[str, Any]) -> Callable[[str], Any] | None:
    """The function that turns one text into what the input ``item`` of a header takes.

    None when the input has no steps. Otherwise it maps a text that is not null to

    - text, for an input of type ``string``;
    - a number, for type ``double`` (the sentiment of the text);
    - a float32 array of ``item["width"]`` values, for type ``float`` (an image's pixels).

    It raises StepFailed for content it cannot use, and another exception (ImportError or
    MLServeError) when the library for the step is not installed. Null never comes here: it is
    NULL_TEXT among strings and NaN among doubles whatever the steps, and images are never null.
    """
    steps = item.get("steps")
    if not steps:
        return None
    if item["type"] == "float":
        from .image_steps import image_function

        return image_function(steps)
    if item["type"] == "double":
        from .sentiment_step import sentiment

        return sentiment
    from .text_steps import text_function

    return text_function(steps)
