# SPDX-License-Identifier: Apache-2.0
"""Row 15 of the scoreboard in Python: random keys and values of every type, against a dict."""

import collections
import math
import os
import random
import time

import penstock
import pytest
from penstock.state import LocalFileStorage

SEED = int(os.environ.get("PENSTOCK_FAULT_SEED", "1"))
SCALE = os.environ.get("PENSTOCK_FAULT_SCALE", "smoke")
PAIRS = 20_000 if SCALE == "smoke" else 1_000_000
VALUE_MOST = {"smoke": 1 << 20, "full": 256 << 20, "release": 1 << 30}[SCALE]
KEY_MOST = 64 << 10
INTEGER_EDGES = [0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOAT_EDGES = [0.0, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan]


def random_text(rng, length):
    """Any characters, and a byte that is none in UTF-8."""
    ends = (0x80, 0x800, 0x10000, 0x110000)
    points = (rng.randrange(rng.choice(ends)) for _ in range(length))
    return "".join("\udcff" if 0xD800 <= point < 0xE000 else chr(point) for point in points)


def random_length(rng, most):
    """Mostly short; now and then within one of a power of two."""
    if rng.randrange(50):
        return rng.randrange(24)
    return min(most, (1 << rng.randrange(most.bit_length())) + rng.randrange(-1, 2))


def random_key(rng):
    length = max(1, random_length(rng, KEY_MOST))
    if length < 24:
        return random_text(rng, length)
    return f"{rng.randrange(1000)}".ljust(length, "k")


def random_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 3 else 7)
    if kind == 0:
        return None
    if kind == 1:
        return bool(rng.randrange(2))
    if kind == 2:
        edge = rng.randrange(4) == 0
        return rng.choice(INTEGER_EDGES) if edge else rng.randrange(-(2**63), 2**63)
    if kind == 3:
        return rng.choice(FLOAT_EDGES) if rng.randrange(4) == 0 else rng.uniform(-1e9, 1e9)
    if kind == 4:
        return random_text(rng, rng.randrange(24))
    if kind in (5, 6):
        return rng.randbytes(random_length(rng, 1 << 14))
    if kind == 7:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {random_text(rng, 5): random_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def same(one, other):
    """Equal, of the same types all the way down; also NaN, and the sign of zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def differing(storage, model):
    """The keys, shortened, at which the two are not the same."""
    keys = set(storage.getAllKeys())
    wrong = [ascii(key[:40]) for key in keys.symmetric_difference(model)]
    wrong += [ascii(key[:40]) for key in keys & model.keys() if not same(storage[key], model[key])]
    return wrong if wrong or len(storage) == len(model) else ["len()"]


def open_storage(place):
    return LocalFileStorage(place / "state", durability="buffered")


def test_random_pairs_come_back_as_a_dict_has_them(tmp_path):
    began = time.monotonic()
    where = f"PENSTOCK_FAULT_SEED={SEED}"
    rng = random.Random(SEED)
    model = {}
    recent = collections.deque(["first"], maxlen=50)
    storage = open_storage(tmp_path)
    for number in range(PAIRS):
        again = rng.randrange(10) == 0
        key = rng.choice(recent) if again else random_key(rng)
        if again and rng.randrange(2) == 0:
            storage.remove(key)
            model.pop(key, None)
        else:
            model[key] = random_value(rng)
            storage.set(key, model[key])
            recent.append(key)
        if number == PAIRS // 2:
            storage.close()
            storage = open_storage(tmp_path)
        if again:
            key = rng.choice(recent)
            assert same(storage.getOr(key, "absent"), model.get(key, "absent")), where
    assert not differing(storage, model)[:5], where
    storage.close()
    with open_storage(tmp_path) as opened:
        assert not differing(opened, model)[:5], "opened again, " + where
    seconds = time.monotonic() - began
    print(f"row 15, Python: {PAIRS} pairs, 0 wrong, {seconds:.1f} s, seed {SEED}")


def test_limits_are_kept_and_one_beyond_is_refused(tmp_path):
    model = {"k" * KEY_MOST: "at the limit", "é" * (KEY_MOST // 2): "in bytes", "1": 1}
    for length in (0, 1, VALUE_MOST - 1, VALUE_MOST):
        model[f"value of {length}"] = b"v" * length
    with open_storage(tmp_path) as storage:
        for key, value in model.items():
            storage[key] = value
        for key in ("", "k" * (KEY_MOST + 1), "é" * (KEY_MOST // 2) + "k"):
            with pytest.raises(penstock.InvalidArgument):
                storage.set(key, 1)
        with pytest.raises(UnicodeEncodeError):
            storage.set("1", "\ud800")
        for value in (2**63, -(2**63) - 1, object(), {1: 1}):
            with pytest.raises((TypeError, ValueError, OverflowError)):
                storage.set("1", value)
        if VALUE_MOST == 1 << 30:
            with pytest.raises(penstock.InvalidArgument):
                storage.set("1", b"v" * (VALUE_MOST + 1))
        assert not differing(storage, model)
    with open_storage(tmp_path) as storage:
        assert not differing(storage, model)
