"""Which names a text reads and does not define."""

from __future__ import annotations

import pytest

from jupyter_mlserve.notebook.capture.reading import read

# text: names read for sure, names that are read on some path, separated by |
TEXTS = {
    "df = df.dropna()\ny = df.x\n": "df",
    "df = load()\ny = df.x\n": "load",
    "y = a.b[c](*d, **e) + -f\n": "a c d e f",
    "x += 1\n": "x",
    "x: int = y\n": "y",
    "x.a = y\nz[i] = w\n": "x y z i w",
    "(a, *b), c = d\na, b, c\n": "d",
    "if flag:\n    m = 1\nm\n": "flag | m",
    "if flag:\n    m = 1\nelse:\n    m = 2\nm\n": "flag",
    "if flag:\n    raise E\nelse:\n    m = 2\nm\n": "flag E",
    "for r in rows:\n    t = r\nt, r\n": "rows",
    "for r in rows:\n    use(p)\n    p = r\n": "rows use p",
    "while going:\n    n = 1\nn\n": "going",
    "try:\n    import m\nexcept E:\n    m = None\nm\n": "E",
    "try:\n    m = 1\nexcept E as e:\n    pass\nm, e\n": "E | m e",
    "try:\n    m = 1\nexcept E:\n    raise\nfinally:\n    z = 1\nm, z\n": "E",
    "with a(p) as f, g():\n    d = f.read()\nd\n": "a p g",
    "match v:\n    case {'a': q, **rest}:\n        r = q\n    case P(x=1):\n        r = 1\n"
    "    case [_, *more]:\n        r = rest\n    case _:\n        r = 2\nr, rest\n": "v P | rest",
    "match v:\n    case 1:\n        r = 1\nr\n": "v | r",
    "[a for a in data if a > low]\n": "data low",
    "{k: v for k, v in pairs for k in extra}\n": "pairs extra",
    "[y := f(i) for i in s]\ny\n": "f s",
    "list(x for x in x)\n": "list x",
    "sorted(rows, key=lambda r: r[column])\n": "sorted rows column",
    "lambda a=b, *c, d=e: a + c + d + g\n": "b e g",
    "f'{u!r:>{w}} {{not}}'\n": "u w",
    "del x\nx\n": "x",
    "t = 1\ndel t\nt\n": "t",
    "import a.b as c, d.e\nfrom f import g as h\nc, d, h\n": "",
    "from math import *\nsqrt(pi)\n": "",
    "__name__, __doc__, __builtins__\n": "",
    "def f():\n    return big\n": "",
    "def f():\n    return k\nf()\n": "k",
    "def f():\n    return k\nk = 1\nf()\n": "",
    "def f():\n    return k\nf()\nk = 1\n": "k",
    "def f():\n    return g()\ndef g():\n    return k\nf()\n": "k",
    "def even(n):\n    return odd(n)\ndef odd(n):\n    return even(n)\neven(1)\n": "",
    "def f():\n    global m\n    m = load()\nf()\nm\n": "load | m",
    "def f():\n    def g():\n        return [k + a for a in data]\n    return g\nf\n": "k data",
    "def f(x):\n    try:\n        return x\n    except E as x:\n        pass\nf(1)\n": "E",
    "def f(a, b=c, *, d=e):\n    return a\n": "c e",
    "@deco(k)\ndef f():\n    return inner\n": "deco k",
    "f = lambda x: x * k\n": "",
    "f = lambda x, z=y: x * k\nf(2)\n": "y k",
    "class A(B, metaclass=M):\n    x = y\n    def m(s, d=x):\n        return g\n": "B M y",
    "class A:\n    def m(self):\n        return g\nA().m()\n": "g",
    "class A:\n    x = x\n": "x",
    "class A:\n    n = 1\n    v = [n for _ in r]\n": "r n",
    "class A:\n    for i in r:\n        pass\n    def m(self):\n        return i\nA\n": "r i",
    "class A:\n    def m(self):\n        return __k\nA\n": "_A__k",
    "async def f():\n    async with s() as q:\n        return [x async for x in q]\nf()\n": "s",
    "v = await later(x)\n": "later x",
    "nonsense = 1\nprint(nonsense)\n": "print",
}


@pytest.mark.parametrize("text", TEXTS)
def test_names_that_are_read(text: str) -> None:
    sure, _, maybe = TEXTS[text].partition("|")
    found = read(text)
    names = {name for name, use in found.now.items() if not use.maybe}
    assert names == set(sure.split())
    assert {name for name, use in found.now.items() if use.maybe} == set(maybe.split())


def test_what_a_function_reads_when_it_is_called_from_outside() -> None:
    text = (
        "START = 1\n"
        "def op(x):\n    return helper(x) + START + model\n"
        "def helper(x):\n    return x + k\n"
        "def train():\n    return cars\n"
        "class Held:\n    def m(self):\n        return deep\n"
        "def other():\n    return Held().m()\n"
    )
    assert read(text).uses == {}
    assert set(read(text, ["op"]).later) == {"k", "model"}
    assert set(read(text, ["other"]).later) == {"deep"}
    assert read(text, ["op"]).later["model"].line == 2


def test_annotations_are_hints() -> None:
    text = (
        "def f(x: A, *y: 'B') -> C[D]:\n    z: E = x\n    return z\nn: G = 1\nclass K:\n    a: H\n"
    )
    found = read(text, ["f"])
    assert set(found.now) == set()
    assert set(found.hints) == {"A", "C", "D", "G", "H"}
    assert set(found.quoted) == {"B"}
    lazy = read("from __future__ import annotations\n" + text, ["f"])
    assert lazy.hints == {}
    assert set(lazy.quoted) == {"A", "B", "C", "D", "G", "H"}


def test_order_independent_facts() -> None:
    found = read(
        "import numpy as np\nfrom a.b import c\nfrom . import d\nfrom nowhere import *\n"
        "np.linalg.norm(x)\ndef f():\n    import late.one\n    return eval('k')\n"
    )
    assert [each.module for each in found.imports] == ["numpy", "a.b", ".", "nowhere", "late.one"]
    assert set(found.chains["np"]) == {"np.linalg", "np.linalg.norm"}
    assert found.unknown_star == ["nowhere"]
    assert found.dynamic == {"eval"}
    assert "f" in found.definite
    assert found.assigned["np"] == 1


def test_a_text_that_is_no_python_raises() -> None:
    with pytest.raises(SyntaxError):
        read("def f(:\n")
