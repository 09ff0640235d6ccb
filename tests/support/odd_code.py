"""Functions and objects of every kind that dill can pack, as one piece of source each."""

from __future__ import annotations

import sys
import types
from typing import Any

SOURCES = {
    "plain": "def f(x): return x * 2 + 1",
    "identity": "f = lambda x: x",
    "constant": "f = lambda: None",
    "conditional": "f = lambda x: x if x > 3 else 3",
    "positive": "f = lambda x: +x",
    "branches": "def f(x):\n if x > 0: return 'a'\n elif x < 0: return 'b'\n return 'c'",
    "loops": "def f(n):\n t = 0\n for i in range(n):\n  while t > 5: t -= 1\n  t += i\n return t",
    "short loop": "def f(x, y):\n while x: x = y",
    "loop to none": "def f(x, y):\n while x is not None: x = y",
    "try": "def f(x):\n try: return 1 / x\n except ZeroDivisionError as e: return str(e)\n"
    " finally: x = 2",
    "with": "import contextlib\ndef f(x):\n with contextlib.suppress(ValueError): return int(x)",
    "generator": "def f(n):\n for i in range(n): yield i",
    "yield from": "def f(n):\n yield from range(n)",
    "coroutine": "import asyncio\nasync def f(x):\n await asyncio.sleep(0)\n return x",
    "short coroutine": "async def f(x): return x",
    "async generator": "async def f():\n async for x in f(): yield x\n yield 1",
    "async with": "async def f(x):\n async with x as y: return [z async for z in y]",
    "comprehensions": "def f(n): return [i for i in n], {i: n for i in n}, {i for i in n}, "
    "list(i for i in n)",
    "f-string": "def f(x): return f'{x!r:>10} and {x}'",
    "closure": "def make(a):\n def g(b):\n  nonlocal a\n  a += b\n  return a\n return g\n"
    "f = make(3)",
    "decorated": "import functools\ndef d(g):\n @functools.wraps(g)\n"
    " def w(*a, **k): return g(*a, **k)\n return w\n@d\ndef f(x, *a, key=1, **k): return x",
    "constants": f"def f(): return {tuple(range(300))!r}, {'a' * 300!r}, b'x', 1.5, {{1, 2}}",
    "long": "def f(x):\n"
    + "".join(f" x{i} = x + {i}.5\n if x{i} > x: x = {i}\n" for i in range(300)),
    "spread": "def f(a, b): return (*a, *b), [*a, *b], {*a, *b}, {**a, **b}",
    "parameters": "def f(a, /, b, *, c=1): return a, b, c",
    "unbound": "def f(a):\n if a: y = 1\n return y",
    "deleted": "def f(x):\n y = x; del y\n import os.path as p\n return p.join('a', x)",
    "slices": "def f(x):\n x[1:2] = x[::2]\n del x[0]\n return x[1:]",
    "unpack": "def f(x):\n a, (b, *c) = x\n return a, b, c",
    "raises": "def f(x):\n assert x, 'no'\n raise ValueError(x) from None",
    "global": "n = 1\ndef f():\n global n\n n += 1\n return n",
    "walrus": "def f(x): return (y := x) + y",
    "recursive": "def f(x): return f(x - 1) if x else 0",
    "class": "class f:\n 'doc'\n a: int = 1\n def m(self, x): return self.a * x\n"
    " @property\n def p(self): return self\n @staticmethod\n def s(x): return x",
    "subclass": "class A:\n def m(self): return 1\nclass f(A):\n def m(self):\n"
    "  return super().m() + 1",
    "instance": "class A:\n def __init__(self, k): self.k = k\n"
    " def __call__(self, x): return x + self.k\nf = A(3)",
    "bound": "class A:\n def m(self, x): return x\nf = A().m",
    "partial": "import functools\nf = functools.partial(lambda a, b: a + b, 1)",
    "match": "class P: __match_args__ = ('k',)\ndef f(x):\n match x:\n"
    "  case {'a': a, **r}: return a, r\n  case [1, *r]: return r\n"
    "  case P(k=3) | P(4) | None: return 0\n  case str() as s if s: return s\n return x",
    "nested": "f = {'a': [lambda x: x + 1, (len, 1.5)], 'b': {'c': lambda: [0]}}",
}
if sys.version_info >= (3, 11):
    SOURCES["groups"] = (
        "def f(x):\n try: raise ExceptionGroup('a', [ValueError(1)])\n"
        " except* ValueError as e: x = e\n return x"
    )
    SOURCES["starred"] = "def f(x, y): return x[*y]"


def odd_object(source: str, main: types.ModuleType) -> Any:
    """What ``source`` calls ``f``, made in ``main`` as a notebook would."""
    exec(compile(source, "<cell>", "exec"), main.__dict__)
    return main.__dict__["f"]
