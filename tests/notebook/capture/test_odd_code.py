"""Code that uses more of Python than most: each case must answer in a fresh process."""

from __future__ import annotations

from typing import Any

import pytest
from support.capturing import Kernel

# what it is: cells of the notebook, the code, its answer
CASES: dict[str, tuple[list[str], str, Any]] = {
    "single dispatch": (
        [
            "from functools import singledispatch\n"
            "@singledispatch\ndef f(v):\n    return 1\n"
            "@f.register\ndef _(v: int):\n    return 2\n"
            "@f.register(str)\ndef g(v):\n    return 3\n"
        ],
        "y = f(1) * 100 + f('a') * 10 + f(2.0)\n",
        231,
    ),
    "a registry that decorates": (
        [
            "class Registry:\n"
            "    def __init__(self):\n        self.known = {}\n"
            "    def __call__(self, f):\n        self.known[f.__name__] = f\n        return f\n"
            "registry = Registry()\n"
            "@registry\ndef h(v):\n    return v + 1\n"
        ],
        "y = registry.known['h'](1) + h(1)\n",
        4,
    ),
    "properties, slots, static and class methods, by value": (
        [
            "class A:\n    __slots__ = ('_v',)\n"
            "    def __init__(self):\n        self._v = 1\n"
            "    @property\n    def v(self):\n        return self._v\n"
            "    @v.setter\n    def v(self, new):\n        self._v = new\n"
            "    @classmethod\n    def make(cls):\n        return cls()\n"
            "    @staticmethod\n    def five():\n        return 5\n"
            "a = A()\n",
            "A.extra = 10\n",
        ],
        "a.v = 4\ny = a.v + A.make().v + A.five() + A.extra\n",
        20,
    ),
    "abstract classes": (
        [
            "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\n"
            "class C(B):\n    def go(self):\n        return 4\n"
            "class D(B):\n    def go(self):\n        return 5\n"
            "D.k = 1\nc, d = C(), D()\n"
        ],
        "y = c.go() + d.go() + d.k + isinstance(d, B)\n",
        11,
    ),
    "classes of libraries that make methods, by value": (
        [
            "import attrs, dataclasses\n"
            "@attrs.define\nclass A:\n    x: int = 3\n    def go(self):\n        return self.x\n"
            "@dataclasses.dataclass\nclass B:\n    x: int = 4\n"
            "    z: list = dataclasses.field(default_factory=list)\n"
            "@dataclasses.dataclass(slots=True, frozen=True)\nclass C:\n    x: int = 5\n"
            "for each in A, B, C:\n    each.more = lambda self: 10\n"
            "a, b, c = A(), B(), C()\n"
        ],
        "y = a.go() + b.x + c.x + a.more() + b.more() + c.more() + (b == B()) + len(repr(a))\n",
        3 + 4 + 5 + 30 + 1 + 6,
    ),
    "generic classes": (
        [
            "from typing import Generic, TypeVar\nT = TypeVar('T')\n"
            "class C(Generic[T]):\n    def go(self) -> T:\n        return 4\n"
            "c = C[int]()\nheld = [T]\n"
        ],
        "y = c.go() + (held[0] is T)\n",
        5,
    ),
    "pydantic with lazy annotations": (
        [
            "from __future__ import annotations\nfrom pydantic import BaseModel\n"
            "class Sub(BaseModel):\n    a: int\n"
            "class In(BaseModel):\n    s: Sub\n"
        ],
        "y = In(s={'a': 3}).s.a\n",
        3,
    ),
    "attrs and dataclasses with slots": (
        [
            "import attrs, dataclasses\n"
            "@attrs.define\nclass A:\n    x: int = 3\n    def go(self):\n        return self.x\n"
            "@dataclasses.dataclass(slots=True, frozen=True)\nclass B:\n    x: int = 4\n"
            "a, b = A(), B()\n"
        ],
        "y = a.go() + b.x\n",
        7,
    ),
    "enums of integers and flags": (
        [
            "import enum\nclass A(enum.IntEnum):\n    X = 1\n    Y = enum.auto()\n"
            "class F(enum.Flag):\n    P = 1\n    Q = 2\nheld = [A.Y, F.P | F.Q]\n"
        ],
        "y = held[0] + A.X + (held[1] == F.P | F.Q)\n",
        4,
    ),
    "definitions under an if": (
        [
            "if 1:\n    def f():\n        '''doc\nat 0 column'''\n        return len(f.__doc__)\n"
            "    class A:\n        def go(self):\n            return 2\n"
            "else:\n    class A:\n        pass\n"
        ],
        "y = f() + A().go()\n",
        17,
    ),
    "lambdas that share a line": (
        ["f = lambda a: a + 1; g = lambda a,\\\n  b=2: a + b\n"],
        "y = f(1) * 10 + g(1)\n",
        23,
    ),
    "functions that differ by their defaults": (
        [
            "made = []\n"
            "for i in range(3):\n    def g(v, i=i):\n        return v + i\n    made.append(g)\n"
        ],
        "y = made[0](1) * 100 + made[1](1) * 10 + made[2](1)\n",
        123,
    ),
    "closures that share a variable": (
        [
            "def make():\n    n = [0]\n    def up():\n        n[0] += 1\n"
            "    def read():\n        return n[0]\n    return {'up': up, 'read': read}\n"
            "pair = make()\n"
        ],
        "pair['up']()\npair['up']()\ny = pair['read']()\n",
        2,
    ),
    "attributes of functions": (["def f():\n    return f.k\nf.k = 3\n"], "y = f()\n", 3),
    "bound methods": (
        [
            "import random\ndraw = random.Random(3).random\n"
            "class A:\n    def __init__(self):\n        self.k = 3\n"
            "    def go(self):\n        return self.k\ngo = A().go\n"
        ],
        "y = go() + (draw() == 0.23796462709189137)\n",
        4,
    ),
    "shared and circular data": (
        ["d = {}\nd['me'] = d\npart = [1]\nwhole = {'a': part, 'b': part}\n"],
        "y = (d['me'] is d) + (whole['a'] is whole['b'])\n",
        2,
    ),
    "changed class attributes": (
        ["class A:\n    table = {}\nA.table['x'] = 1\n"],
        "y = len(A.table)\n",
        1,
    ),
    "values with odd texts": (
        [
            "import math\ni, n, e, big = math.inf, math.nan, ..., 10 ** 5000\n"
            "s = 'a\\x00\\ud800\\u00e9\\n\\\\'\nb, c, r, none = b'x', 3 + 4j, range(3), None\n"
        ],
        "y = (i > 1) + (n != n) + (e is ...) + len(hex(big)) + len(s) + len(b) + abs(c) + len(r)\n"
        "y += none is None\n",
        3 + len(hex(10**5000)) + 6 + 1 + 5 + 3 + 1,
    ),
    "names that hide builtins": (
        ["sum = 3\ndef f():\n    return sum\n"],
        "y = f() + max(1, 2)\n",
        5,
    ),
    "generators, context managers, cached properties": (
        [
            "import contextlib, functools\nK = 3\n"
            "@contextlib.contextmanager\ndef held():\n    yield K\n"
            "def numbers(n):\n    yield from range(n)\n"
            "class A:\n    @functools.cached_property\n    def v(self):\n        return K\n"
            "a = A()\n"
        ],
        "with held() as k:\n    y = k + sum(numbers(4)) + a.v\n",
        12,
    ),
    "redefinitions": (
        ["def f():\n    return 1\ndef f():\n    return 2\n", "def f():\n    return 3\n"],
        "y = f()\n",
        3,
    ),
    "match, walrus, globals": (
        [
            "count = 0\ndef up():\n    global count\n    count += 1\n    return count\n"
            "class P:\n    __match_args__ = ('a',)\n"
            "    def __init__(self, a):\n        self.a = a\n"
            "p, data = P(3), [1, 2]\n"
        ],
        "match p:\n    case P(a):\n        y = a\n    case _:\n        y = 0\n"
        "z = [w := v * 2 for v in data]\ny = y * 100 + w * 10 + up() + up()\n",
        343,
    ),
    "objects with tricks": (
        [
            "import types, weakref\n"
            "class A:\n    def __getattr__(self, name):\n"
            "        if name.startswith('__'):\n            raise AttributeError(name)\n"
            "        return 7\n"
            "a = A()\nview = types.MappingProxyType({'a': 1})\n"
        ],
        "y = a.anything + view['a']\n",
        8,
    ),
    "deleted and read again": (["tmp = 3\n"], "t = tmp\ndel t\ny = tmp\n", 3),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_code(kernel: Kernel, case: str) -> None:
    cells, code, answer = CASES[case]
    for cell in cells:
        kernel(cell)
    capture = kernel.capture(code, inputs=[], outputs="y: float")
    assert capture.warnings == []
    assert kernel.call(capture, {}) == [{"y": answer}]
