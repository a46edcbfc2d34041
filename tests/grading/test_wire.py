"""Values cross the wire exactly, and nothing else crosses it."""

import collections
import datetime
import decimal
import enum
import fractions
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexlib.grading.inside import wire

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
)
hashable = st.recursive(scalars, lambda s: st.lists(s, max_size=3).map(tuple), max_leaves=5)
values = st.recursive(
    scalars,
    lambda s: (
        st.lists(s, max_size=4)
        | st.lists(s, max_size=4).map(tuple)
        | st.sets(hashable, max_size=3)
        | st.frozensets(hashable, max_size=3)
        | st.dictionaries(hashable, s, max_size=3)
        | st.lists(s, max_size=3).map(collections.deque)
    ),
    max_leaves=12,
)


def refuse(*args):
    raise wire.WireError("no plain value")


def carried(value):
    return wire.unpack(json.loads(json.dumps(wire.pack(value, refuse))), refuse)


def same_types(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple, collections.deque)):
        return all(map(same_types, a, b))
    if isinstance(a, dict):
        return all(map(same_types, a.items(), b.items()))
    return True


@given(values)
def test_a_value_arrives_equal_and_of_the_same_types(value):
    arrived = carried(value)
    assert arrived == value
    assert same_types(value, arrived)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.inf,
        range(2, 9, 3),
        10**5000,
        collections.Counter("aab"),
        collections.OrderedDict(b=1, a=2),
        {1: 2}.keys(),
        int,
        bytearray(b"x"),
    ],
    ids=repr,
)
def test_rarer_values_arrive_as_they_were(value):
    assert repr(carried(value))[:100] == repr(value)[:100]


def test_nan_arrives_as_nan():
    assert math.isnan(carried(math.nan))


class AlwaysEqual(list):
    def __eq__(self, other):
        return True

    __hash__ = None


class Colour(enum.IntEnum):
    RED = 1


def test_a_subclass_arrives_as_the_data_it_holds():
    arrived = carried([AlwaysEqual([1]), Colour.RED, collections.namedtuple("P", "a b")(1, 2)])
    assert [type(item) for item in arrived] == [list, int, tuple]
    assert arrived == [[1], 1, (1, 2)]


@pytest.mark.parametrize(
    "data",
    [
        {"x": 1},
        {},
        {"t": 1},
        {"d": [1]},
        {"i": "zz"},
        {"n": "eval"},
        {"n": "__import__"},
        {"D": []},
        {"T": ["type", "x"]},
        {"s": [[]]},
        {"F": [1, 0]},
        {"t": [], "s": []},
    ],
    ids=str,
)
def test_what_is_no_value_is_refused(data):
    with pytest.raises(wire.WireError):
        wire.unpack(data, refuse)


def test_frames_over_a_pipe():
    read, write = os.pipe()
    wire.send(write, {"a": [1, "\ud800"]})
    assert wire.receive(read) == {"a": [1, "\ud800"]}
    os.write(write, b"\xff\xff\xff\xff")
    with pytest.raises(wire.TooLarge):
        wire.receive(read)
    os.close(write)
    with pytest.raises(wire.Gone):
        wire.receive(read)
    os.close(read)


def test_equality_of_what_arrives_is_the_builtin_one():
    assert carried(AlwaysEqual([1])) != [2]
    assert carried(decimal.Decimal("1.10")) == decimal.Decimal("1.1")
    assert carried(fractions.Fraction(2, 4)) == fractions.Fraction(1, 2)
    assert carried(datetime.timedelta(1, 2, 3)) == datetime.timedelta(1, 2, 3)
