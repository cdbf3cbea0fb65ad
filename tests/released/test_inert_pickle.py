"""The machine makes what Python's pickle makes, and asks for what Python would call."""

import pickle
import random
from collections import OrderedDict, deque

import pytest

from vqlearn.released.inert_pickle import INERT, Call, Global, Persistent, read_inert

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def value_of(chance, depth=4):
    """Numbers, texts, and tuples and dicts of those; the same object may be in several places."""
    plain = [
        *(None, True, False, 0, 255, -1, 70_000, 2**40, -(2**2100), 1.5, -0.0),
        *("", "a b", "ä\n", "x" * 300),
    ]
    if depth == 0 or chance.random() < 0.3:
        return chance.choice(plain)
    values = [value_of(chance, depth - 1) for _ in range(chance.randrange(6))]
    values += values[:1]
    if chance.random() < 0.5:
        return tuple(values)
    return {f"key {number}": value for number, value in enumerate(values)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(10))
def test_plain_values_are_those_of_pickle(seed, protocol):
    value = value_of(random.Random(seed))
    ours = read_inert(pickle.dumps(value, protocol))
    assert repr(ours) == repr(value)  # 1 is not True


@pytest.mark.parametrize("protocol", PROTOCOLS[3:])
def test_bytes_are_kept(protocol):
    value = (b"", b"ab", b"x" * 300)
    assert read_inert(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_of_a_dict_the_entries_with_a_text_are_kept(protocol):
    value = {"a": 1, 2: 3, deque: 4, (1,): 5, None: 6, "b": {7: 8}}
    assert read_inert(pickle.dumps(value, protocol)) == {"a": 1, "b": {}}


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_an_ordered_dict_is_a_dict_whatever_its_attributes(protocol):
    value = OrderedDict(a=1, b=(2,))
    value._metadata = {"version": 3}
    assert read_inert(pickle.dumps({"x": value}, protocol)) == {"x": {"a": 1, "b": (2,)}}


class Thing:
    """An object with attributes and a size."""

    def __init__(self):
        self.a = 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [[1, [2]], {1, 2}, frozenset((1,)), Thing(), deque([1], 3)])
def test_everything_else_is_inert_and_disturbs_nothing(value, protocol):
    ours = read_inert(pickle.dumps(("before", {"x": value, "y": value}, "after"), protocol))
    assert ours[0] == "before"
    assert ours[2] == "after"
    assert list(ours[1]) == ["x", "y"]
    assert ours[1]["x"] is INERT or isinstance(ours[1]["x"], Call)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_functions_are_names_and_calls_are_records(protocol):
    class Asks:
        def __reduce__(self):
            return print, ("called", 1)

    ours = read_inert(pickle.dumps({"f": len, "c": Asks()}, protocol))
    module = "__builtin__" if protocol < 3 else "builtins"
    assert ours == {"f": Global(module, "len"), "c": Call(Global(module, "print"), ("called", 1))}


def test_what_lies_outside_is_a_record():
    assert read_inert(b"\x80\x02X\x01\x00\x00\x00aK\x05\x86Q.") == Persistent(("a", 5))


@pytest.mark.parametrize(
    ("program", "result"),
    [
        (b"(K\x01K\x022K\x03t.", (1, 2, 2, 3)),  # DUP
        (b"(K\x01K\x020t.", (1,)),  # POP
        (b"(K\x01(K\x02K\x031t.", (1,)),  # POP_MARK
        (b"(K\x01ios\nsystem\n.", INERT),  # INST
        (b"(cos\nsystem\nK\x01o.", INERT),  # OBJ
        (b"(K\x00(cos\nsystem\nK\x01ot.", (0, INERT)),
        (b"\x82\x05.", INERT),  # EXT1
        (b"Pname\n.", INERT),  # PERSID
        (b"cos\nsystem of\n.", Global("os", "system of")),
        (b"]\x94K\x01a.", INERT),
        (b"cos\nsystem\n}b.", Global("os", "system")),  # BUILD
        (b"cos\nsystem\n(K\x01K\x02u.", Global("os", "system")),  # SETITEMS
    ],
)
def test_single_operations(program, result):
    assert read_inert(program) == result


@pytest.mark.parametrize(
    "program",
    [
        *(b"", b"K\x01", b".", b"t.", b"h\x05.", b"}(K\x01u.", b"\xff.", b"X\xff\xff\xff\x7fa."),
        *(b"}K\x01s.", b"q\x00.", b"R.", b"I1x\n.", b"cos"),
    ],
)
def test_broken_programs_raise(program):
    with pytest.raises((ValueError, IndexError, KeyError)):
        read_inert(program)


@pytest.mark.parametrize("cut", range(1, 40))
def test_half_a_pickle_raises(cut):
    whole = pickle.dumps({"a": (1, 2.5, {"b": None})}, 2)
    with pytest.raises((ValueError, IndexError, KeyError)):
        read_inert(whole[: len(whole) * cut // 40])
