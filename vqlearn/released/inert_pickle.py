"""A pickle as plain data: nothing it asks for is called or imported.

A pickle is a program for a machine with a stack and a memo. This machine makes the pickle's
numbers, texts, tuples and dicts. Where a pickle names a function or class there is a `Global`,
where it calls one a `Call`, where it points outside a `Persistent`: records of what was asked for.
Who knows how a tensor is asked for finds it among them (`training_file.py`).
"""

import pickletools
from itertools import takewhile
from typing import Any, NamedTuple

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")


class Global(NamedTuple):
    """The name of a function or class, which is not looked up."""

    module: str
    name: str


class Call(NamedTuple):
    """A call that did not happen."""

    function: Any
    arguments: Any


class Persistent(NamedTuple):
    """What lies outside the pickle. Of torch: the numbers of a tensor, in a member of their own."""

    key: Any


class Inert:
    """In the place of what no weights need: lists, sets, instances of classes."""


INERT, MARK = Inert(), Inert()
ORDERED_DICT = Global("collections", "OrderedDict")


def read_inert(pickle: bytes) -> Any:
    """What a pickle holds. Takes time and memory in proportion to its length, about 2 µs a byte.

    Of a dict the entries with a text as key are kept. Raises whatever a broken pickle makes of the
    machine (`ValueError`, `IndexError`, `KeyError`, `TypeError`, ...).
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for operation, argument, _ in pickletools.genops(pickle):
        name = operation.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
            continue
        taken = _take(stack, operation.stack_before)
        if name == "STOP":
            return taken[0]
        if name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(MARK)
        else:
            made = _made(operation, argument, taken)
            stack += [made for _ in operation.stack_after]
    raise ValueError("a pickle without an end")


def _take(stack: list[Any], before: list[pickletools.StackObject]) -> list[Any]:
    """Pop what an operation takes: so many values and, if it says so, all from the last mark on."""
    single = list(takewhile(lambda kind: kind is not pickletools.markobject, before))
    taken = []
    if len(single) < len(before):
        while (top := stack.pop()) is not MARK:
            taken.append(top)
    taken += [stack.pop() for _ in single]
    return taken[::-1]


def _made(operation: pickletools.OpcodeInfo, argument: Any, taken: list[Any]) -> Any:
    """What an operation leaves on the stack."""
    name = operation.name
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name in TUPLES:
        return tuple(taken)
    if name in ("EMPTY_DICT", "DICT"):
        return _with_entries({}, taken)
    if name in ("SETITEM", "SETITEMS"):
        return _with_entries(taken[0], taken[1:])
    if name == "GLOBAL":
        return Global(*argument.split(" ", 1))
    if name == "STACK_GLOBAL":
        return Global(*taken) if {type(part) for part in taken} == {str} else INERT
    if name == "REDUCE":
        return {} if taken == [ORDERED_DICT, ()] else Call(*taken)
    if name == "BINPERSID":
        return Persistent(taken[0])
    if name in ("DUP", "BUILD"):  # BUILD takes an object and its attributes, which nobody needs
        return taken[0]
    is_constant = operation.arg is not None and operation.stack_after != [pickletools.anyobject]
    return argument if is_constant else INERT


def _with_entries(target: Any, flat: list[Any]) -> Any:
    """The same dict with the entries of key, value, key, value, ...; other targets keep theirs."""
    if type(target) is dict:
        pairs = zip(flat[::2], flat[1::2], strict=True)
        target.update((key, value) for key, value in pairs if type(key) is str)
    return target
