"""Which Pythons can run a piece of bytecode, told from its bytes; nothing of it is run.

Every minor version has an instruction set of its own: what a number means, and how many slots of
cache follow an instruction. A piece that is read by the set of another version soon runs into a
number that is no instruction, or into an instruction where a cache should be. Code that passes as
two versions' does the same in both, but for what jumps() and balanced() tell apart.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    Version = Tuple[int, int]

# The numbers that are instructions, and the cache slots of those that have any: of CPython's
# module opcode, without what the interpreter puts in place of them while it runs.
_INSTRUCTIONS: Dict[Version, str] = {
    (3, 8): "1-6 9-12 15-17 19-20 22-29 50-57 59-73 75-79 81-98 100-116 122 124-126 130-133"
    " 135-138 141-158 160-163",
    (3, 9): "1-6 9-12 15-17 19-20 22-29 48-52 54-57 59-79 82-87 89-98 100-118 121-122 124-126"
    " 130-133 135-138 141-148 154-157 160-165",
    (3, 10): "1-6 9-12 15-17 19-20 22-34 49-52 54-57 59-79 82-87 89-119 121-122 124-126 129-133"
    " 135-138 141-148 152 154-157 160-165",
    (3, 11): "1-2 9-12 15 25 30-33 35-37 49-54 60-61 68-71 74-75 82-112 114-120 122-126 128-140"
    " 142 144-149 151-152 155-157 160 162-166 171-176",
    (3, 12): "1-5 9 11-12 15 25-27 30-33 35-37 49-55 60-61 68-69 71 74-75 83 85 87 89-110 114-147"
    " 149-152 155-157 162-165 171-176",
    (3, 13): "1-2 4-16 18-118 149",
    (3, 14): "1-2 4-16 18-120 128",
}
_CACHES: Dict[Version, str] = {
    (3, 11): "25:4 60:1 92:1 95:4 106:4 107:2 116:5 122:1 160:10 166:1 171:4",
    (3, 12): "25:1 60:1 92:1 93:1 95:4 106:9 107:1 116:4 122:1 123:1 141:1 171:3",
    (3, 13): "5:1 39:1 40:3 45:1 53:3 58:1 59:1 72:1 77:1 82:9 91:4 93:1 97:1 98:1 99:1 100:1"
    " 104:1 108:4 117:1",
    (3, 14): "38:1 39:3 44:5 52:3 55:3 56:1 57:1 70:1 75:1 80:9 92:4 96:1 100:1 101:1 102:1 103:1"
    " 106:1 110:4 119:1",
}
# Since 3.11 all code has this instruction where it begins, resumes, or both.
_RESUME: Dict[Version, int] = {(3, 11): 151, (3, 12): 151, (3, 13): 149, (3, 14): 128}
KNOWN: List[Version] = sorted(_INSTRUCTIONS)

# Before 3.11. Jumps count bytes up to 3.9, and instructions since: the same code, other places.
_JUMPS_TO = frozenset((111, 112, 113, 114, 115, 121))
_JUMPS_BY = frozenset((93, 110, 122, 143, 154))
# Before 3.10: what belongs to "finally" in 3.8 makes lists, sets and tuples in 3.9.
_ONLY_BEFORE_END_FINALLY = frozenset((82, 162, 163))
_END_FINALLY = 88
# In 3.10 this matches a class, and a jump follows; in 3.8 it makes a tuple.
_MATCH_CLASS, _IF_FALSE = 152, (114, 144)
_COMPARE = 107
_GEN_START = 129  # how generators and coroutines begin, in 3.10 only
_GENERATOR_FLAGS = 0x20 | 0x80 | 0x200
_EXTENDED_ARG = 144  # up to 3.12

# These jump back in 3.11; in 3.12 they call what has no instruction, and load from a dict.
_TWO_MEANINGS = frozenset((173, 174, 175, 176))
_RETURN, _LEAVES = 83, frozenset((83, 110, 119, 130, 134, 140))  # of 3.11 and 3.12

_widths: Dict[Version, List[int]] = {}


def fits(version: Version, code: bytes, flags: int) -> bool:
    """Whether ``version`` could have compiled this. A version that is not known raises KeyError.

    ``flags`` are those of the code object (``co_flags``).
    """
    widths = _widths.get(version)
    if widths is None:
        widths = _widths[version] = _widths_of(version)
    resume = _RESUME.get(version, -1)
    resumes = resume < 0
    at, size = 0, len(code)
    while at < size:
        number = code[at]
        width = widths[number]
        if width != 2:
            if not width or any(code[at + 2 : at + width]):
                return False
        elif number == resume:
            resumes = True
        at += width
    # The last instruction was whole, with its caches, and there was one.
    if at != size or not size or not resumes:
        return False
    return version > (3, 10) or _fits_old(version, code, flags)


def _fits_old(version: Version, code: bytes, flags: int) -> bool:
    if version == (3, 10) and flags & _GENERATOR_FLAGS and code[0] != _GEN_START:
        return False
    numbers = frozenset(code[::2])
    if version == (3, 8) and numbers & _ONLY_BEFORE_END_FINALLY and _END_FINALLY not in numbers:
        return False
    unit = 1 if version < (3, 10) else 2
    most = 10 if version == (3, 8) else 5
    argument = 0
    code += b"\0\0"
    for at in range(0, len(code) - 2, 2):
        number = code[at]
        argument = argument << 8 | code[at + 1]
        if number == _EXTENDED_ARG:
            continue
        if number in _JUMPS_TO or number in _JUMPS_BY:
            target = argument * unit + (at + 2 if number in _JUMPS_BY else 0)
            if target % 2 or target >= len(code) - 2:
                return False
        elif number == _COMPARE:
            if argument > most:
                return False
        elif number == _MATCH_CLASS and version == (3, 10) and code[at + 2] not in _IF_FALSE:
            return False
        argument = 0
    return True


def jumps(code: bytes) -> bool:
    """Whether code from before 3.11 jumps, so that it does other things in 3.9 and in 3.10."""
    return any(number in _JUMPS_TO or number in _JUMPS_BY for number in code[::2])


def has_two_meanings(code: bytes) -> bool:
    """Whether code that fits 3.11 and 3.12 may do other things in them; balanced() then tells."""
    return not _TWO_MEANINGS.isdisjoint(code[::2])


def balanced(version: Version, code: bytes, flags: int) -> bool:
    """Whether the stack holds what each instruction takes, and nothing else when code returns.

    ``version`` is 3.11 or 3.12, and that of the running interpreter, which knows what each
    instruction does to the stack. Code that is reached only by exceptions is left out.
    """
    import dis

    jumping = frozenset(dis.hasjrel)
    widths = _widths[version]
    depths: Dict[int, int] = {}
    # A generator begins with what is sent to it.
    depth: Optional[int] = 1 if flags & _GENERATOR_FLAGS else 0
    at = argument = 0
    while at < len(code):
        if at in depths:
            if depth is not None and depth != depths[at]:
                return False
            depth = depths[at]
        number, following = code[at], at + widths[code[at]]
        argument = argument << 8 | code[at + 1]
        if number != _EXTENDED_ARG:
            if depth is not None:
                given = argument if number >= dis.HAVE_ARGUMENT else None
                if number in jumping and "BACKWARD" not in dis.opname[number]:
                    after = depth + dis.stack_effect(number, given, jump=True)
                    if depths.setdefault(following + 2 * argument, after) != after:
                        return False
                depth += dis.stack_effect(number, given, jump=False)
                if depth < 0 or (number == _RETURN and depth):
                    return False
                if number in _LEAVES:
                    depth = None
            argument = 0
        at = following
    return True


def _widths_of(version: Version) -> List[int]:
    """For each number the bytes that its instruction takes, caches included; 0: it is none."""
    widths = [0] * 256
    for part in _INSTRUCTIONS[version].split():
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            widths[number] = 2
    for part in _CACHES.get(version, "").split():
        first, _, slots = part.partition(":")
        widths[int(first)] = 2 + 2 * int(slots)
    return widths
