# SPDX-License-Identifier: Apache-2.0
"""Datastore from Python, on every adapter alike. D1 to D23 are the cases that tests/state names
so; what the C++ tests prove of an adapter alone is not proved again."""

import concurrent.futures
import contextlib
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time

import penstock
import pytest
from penstock import Datastore
from penstock.state.datastore import CompareAndSet, DatastoreEntry, DatastoreUpdate, Revision
from support import LONG, eventually, held_update, still_waits

ABSENT = object()


def increment(number):
    return number + 1


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor() as threads:
        yield threads


def test_d1_missing_key_is_absent(store):
    assert store.get("nothing") is None
    assert store.get_or("nothing", ABSENT) is ABSENT
    assert store.get_with_revision("nothing") == DatastoreEntry("nothing", None, Revision())
    assert not store.get_with_revision("nothing").revision


def test_stored_none_is_not_absence(store):
    assert store.set("none", None) is None
    assert store.get("none") is None
    assert store.get_or("none", ABSENT) is None
    assert store.get_with_revision("none").revision
    assert store.update("none", lambda found: [found], "default").old is None
    assert store.get("none") == [None]


def test_d2_set_returns_the_value(store):
    value = {"id": 17, "lines": ["nut", "bolt"]}
    assert store.set("order", value) == value
    assert store.get("order") == value
    assert store.set("order", (1, bytearray(b"x"))) == [1, b"x"]


@pytest.mark.parametrize(
    "key, error",
    [
        ("", ValueError), ("k" * 513, ValueError), ("a\0b", ValueError), ("\udcff", ValueError),
        ("\x01x", ValueError), (1, TypeError), (None, TypeError), (b"k", TypeError),
    ],
    ids=repr,
)  # fmt: skip
def test_d3_wrong_key_is_refused_by_every_call(store, key, error):
    calls = [
        lambda: store.get(key),
        lambda: store.get_or(key, 1),
        lambda: store.get_with_revision(key),
        lambda: store.set(key, 1),
        lambda: store.update(key, increment, 0),
        lambda: store.update_optimistic(key, increment, 0),
        lambda: store.compare_and_set(key, Revision(), 1),
        lambda: store.create_only(key, 1),
        lambda: store.remove(key),
        lambda: store.watch({key: Revision()}, 0),
    ]
    for call in calls:
        with pytest.raises(error):
            call()
    assert store.list() == []


@pytest.mark.parametrize(
    "value, error",
    [
        (object(), TypeError), ({1: 2}, TypeError), ({1}, TypeError), (2**63, OverflowError),
        ("x" * (64 << 20), penstock.InvalidArgument),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_d3_wrong_value_is_refused_by_every_call(store, value, error):
    calls = [
        lambda: store.set("k", value),
        lambda: store.update("k", lambda _: value),
        lambda: store.update_optimistic("k", lambda _: value),
        lambda: store.compare_and_set("k", Revision(), value),
        lambda: store.create_only("k", value),
    ]
    for call in calls:
        with pytest.raises(error):
            call()
    assert store.list() == []
    store.set("k", 1)  # and the lock is free


def test_d4_empty_list_is_a_list(store):
    assert store.list() == []
    store.set("b", 1)
    assert store.list("a") == []


def test_list_by_prefix_in_order(store):
    for key in ["b", "ab", "a", "B", "a_", "\u00e4", "\U0001f600", "a%"]:
        store.set(key, 1)
    assert store.list() == ["B", "a", "a%", "a_", "ab", "b", "\u00e4", "\U0001f600"]
    assert store.list("a") == ["a", "a%", "a_", "ab"]


def test_d5_removing_a_missing_key_is_fine(store):
    assert store.remove("k") is False
    store.set("k", None)
    assert store.remove("k") is True
    assert store.remove("k") is False


@pytest.mark.parametrize("how", ["update", "update_optimistic"])
def test_d6_update_of_a_missing_key_gets_the_default(store, how):
    update = getattr(store, how)
    seen = []
    assert update("a", seen.append) == DatastoreUpdate(None, None, False)
    assert seen == [None]
    assert update("a", increment, 0) == DatastoreUpdate(0, 1, True)
    old, new, changed = update("a", increment, 0)
    assert (old, new, changed) == (1, 2, True)
    assert store.get("a") == 2


@pytest.mark.parametrize("how", ["update", "update_optimistic"])
def test_d7_no_change_writes_nothing(store, how):
    update = getattr(store, how)
    assert update("absent", lambda found: None, 7) == DatastoreUpdate(7, 7, False)
    assert store.list() == []
    for value in (5, math.nan, [1, {"a": None}]):
        store.set("k", value)
        before = store.get_with_revision("k").revision
        for leave in (lambda found: None, lambda found: found):
            assert update("k", leave).changed is False
            assert store.get_with_revision("k").revision == before


class Refusal(Exception):
    pass


@pytest.mark.parametrize("kind", [Refusal, KeyboardInterrupt, SystemExit, penstock.KeyNotFound])
@pytest.mark.parametrize("how", ["update", "update_optimistic"])
def test_d8_raising_updater_changes_nothing_and_frees_the_lock(store, pool, how, kind):
    store.set("k", "before")
    error = kind("no")

    def refuse(_):
        raise error

    for key in ("k", "absent"):
        with pytest.raises(kind) as raised:
            getattr(store, how)(key, refuse)
        assert raised.value is error
        assert raised.traceback[-1].name == "refuse"
    assert store.get("k") == "before"
    assert store.list() == ["k"]
    assert pool.submit(store.set, "k", "after").result(LONG) == "after"


@pytest.mark.parametrize("how", ["update", "update_optimistic"])
def test_d9_changing_the_argument_does_not_leak(store, how):
    update = getattr(store, how)
    value = {"list": [1, 2], "map": {"a": 1}}
    store.set("k", value)

    def spoil(found):
        found["list"].append(3)
        found["map"]["a"] = 2
        raise Refusal

    with pytest.raises(Refusal):
        update("k", spoil)
    assert store.get("k") == value

    def append(found):
        found["list"].append(3)
        return found

    done = update("k", append)
    assert done.old == value
    assert done.new == store.get("k") == {"list": [1, 2, 3], "map": {"a": 1}}
    done.new["list"].clear()
    assert store.get("k")["list"] == [1, 2, 3]

    default = []
    assert update("fresh", lambda found: found.append(1) or found, default).new == [1]
    assert default == []


def test_d10_lists_and_none_arrive_as_such(store):
    seen = []
    for value in (None, [], [None, [], {}], {"a": None}):
        store.set("k", value)
        store.update("k", seen.append)
    assert seen == [None, [], [None, [], {}], {"a": None}]


COUNT = """
import sys
from penstock import Datastore

address, table, times = sys.argv[1:]
store = Datastore.open(address, table=table, lock_timeout=600)
store.watch({"go": (0, 0)}, 600)
for _ in range(int(times)):
    store.update("count", lambda count: count + 1, 0)
"""


@contextlib.contextmanager
def running(program, place, *arguments):
    """A process, which is killed at the latest at the end."""
    command = [sys.executable, "-c", program, *place.arguments(), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_d11_increments_of_two_processes_from_an_absent_key_are_exact(quick_place):
    times = 10_000
    store = quick_place.open()
    with running(COUNT, quick_place, str(times)) as one:
        with running(COUNT, quick_place, str(times)) as two:
            store.set("go", True)
            assert one.wait(240) == two.wait(240) == 0
    assert store.get("count") == 2 * times


def test_increments_of_eight_threads_are_exact(store, pool):
    times = 50

    def count(number):
        own = store.namespace("own")
        for _ in range(times):
            store.update("shared", increment, 0)
            own.update(str(number), increment, 0)

    for thread in [pool.submit(count, number) for number in range(8)]:
        thread.result(LONG)
    assert store.get("shared") == 8 * times
    own = store.namespace("own")
    assert {key: own.get(key) for key in own.list()} == {str(n): times for n in range(8)}


@pytest.mark.parametrize("removing", [False, True])
def test_d12_change_during_a_slow_update_comes_behind_it(store, pool, removing):
    store.set("k", "before")
    with held_update(store, "k", "updated"):
        other = pool.submit(store.remove, "k") if removing else pool.submit(store.set, "k", "set")
        assert still_waits(other)
    other.result(LONG)
    assert store.get("k") == (None if removing else "set")


def test_d13_reads_during_a_slow_update_give_the_old_value_at_once(store):
    store.set("k", "before")
    with held_update(store, "k", "updated"):
        assert store.get("k") == "before"
        assert store.list() == ["k"]
        assert store.watch({"k": Revision()}, LONG)[0].value == "before"
    assert store.get("k") == "updated"


def test_d14_other_keys_are_not_held_up(store):
    with held_update(store, "k", "updated"):
        store.set("other", 1)
        store.remove("other")
        done = store.update("outer", lambda _: store.update("inner", increment, 0).new)
    assert done.new == store.get("inner") == 1


def test_d15_nested_update_is_refused_at_once(store):
    store.set("k", 1)
    same = [
        lambda: store.update("k", increment),
        lambda: store.set("k", 2),
        lambda: store.remove("k"),
        lambda: store.update_optimistic("k", increment),
        lambda: store.compare_and_set("k", Revision(), 1),
    ]

    def nest(found):
        began = time.monotonic()
        for call in same:
            with pytest.raises(penstock.NestedUpdate):
                call()
        assert time.monotonic() - began < 5, "half of the lock timeout"
        assert store.get("k") == found
        return found + 1

    assert store.update("k", nest).new == 2
    with pytest.raises(penstock.NestedUpdate):
        store.update("k", lambda _: store.set("k", 5))
    assert store.update("k", increment).new == 3


STAY = """
import sys, threading
from penstock import Datastore

address, table = sys.argv[1:]
store = Datastore.open(address, table=table)
def stay(found):
    print("entered", flush=True)
    threading.Event().wait()
store.update("k", stay)
"""


def test_d16_lock_of_a_killed_process_is_free_within_a_second(shared_place, pool):
    store = shared_place.open()
    store.set("k", "before")
    with running(STAY, shared_place) as holder:
        assert holder.stdout.readline() == b"entered\n"
        waiting = pool.submit(lambda: (store.set("k", "after"), time.monotonic()))
        assert still_waits(waiting)
        assert store.get("k") == "before"
        killed = time.monotonic()
        holder.kill()
        assert waiting.result(LONG)[1] - killed < 1
    assert store.get("k") == "after"


def test_d17_lock_timeout_is_kept(place):
    if place.adapter == "memory":
        store = impatient = place.open(lock_timeout=0.2)
    else:
        store, impatient = place.open(), place.open(lock_timeout=0.2)
    with held_update(store, "k", "updated"):
        for call in (
            lambda: impatient.set("k", 1),
            lambda: impatient.remove("k"),
            lambda: impatient.update("k", increment, 0),
            lambda: impatient.create_only("k", 1),
        ):
            began = time.monotonic()
            with pytest.raises(penstock.LockTimeout, match='"k"') as raised:
                call()
            assert isinstance(raised.value, TimeoutError)
            assert 0.2 <= time.monotonic() - began < 5
    assert store.get("k") == "updated"


def test_d18_value_of_one_mebibyte(store):
    value = [os.urandom(1 << 20), "\u00e4" * (1 << 20)]
    store.set("large", value)
    assert store.get("large") == value


def test_d19_each_change_is_another_revision_also_after_a_removal(store):
    assert store.create_only("k", 1) is True
    assert store.create_only("k", 2) is False
    created = store.get_with_revision("k").revision
    applied, changed = store.compare_and_set("k", created, 2)
    assert applied is True
    assert changed == store.get_with_revision("k").revision != created
    assert store.compare_and_set("k", created, 3) == CompareAndSet(False, changed)
    store.remove("k")
    assert store.compare_and_set("k", changed, 3) == CompareAndSet(False, Revision())
    assert store.create_only("k", 1)
    again = store.get_with_revision("k").revision
    assert again != created
    assert not store.compare_and_set("k", created, 3).applied
    store.set("k", 1)  # the same value is a change too
    assert store.get_with_revision("k").revision != again


def test_optimistic_update_runs_again_with_a_fresh_default(store):
    runs = []

    def append(found):
        runs.append(list(found))
        if len(runs) < 3:
            store.update("k", lambda items: [*items, "theirs"], [])
        found.append("ours")
        return found

    assert store.update_optimistic("k", append, []).new == ["theirs", "theirs", "ours"]
    assert runs == [[], ["theirs"], ["theirs", "theirs"]]
    with pytest.raises(penstock.Conflict, match="100 attempts"):
        store.update_optimistic("n", lambda _: store.update("n", increment, 0).new + 1)
    assert store.get("n") == 100


def test_d20_watch_wakes_on_create_update_and_remove_else_is_empty(store, pool):
    assert store.watch({}, 0) == []
    known = {"k": Revision(), "other": Revision()}
    assert store.watch(known, 0.01) == []
    for change, value in [
        (lambda: store.set("k", 1), 1),
        (lambda: store.update("k", increment), 2),
        (lambda: store.remove("k"), None),
        (lambda: store.create_only("k", 3), 3),
    ]:
        watching = pool.submit(store.watch, known, 2 * LONG)
        assert still_waits(watching)
        change()
        (entry,) = watching.result(LONG)
        assert entry == store.get_with_revision("k")
        assert (entry.key, entry.value) == ("k", value)
        known["k"] = entry.revision
    store.set("third", 1)
    assert store.watch(known, 0.01) == []
    store.set("other", 5)
    store.set("k", 6)
    assert [entry.key for entry in store.watch(known, math.inf)] == ["k", "other"]


def test_ctrl_c_ends_a_watch_within_a_second(store):
    def interrupt():
        assert event.wait(LONG) and threading.Event().wait(0.2) is False
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    event, sent = threading.Event(), []
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        event.set()
        store.watch({"k": Revision()}, LONG)
    assert time.monotonic() - sent[0] < 1
    thread.join()


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_absurd_timeout_of_a_watch_is_refused(store, timeout):
    with pytest.raises(penstock.InvalidArgument, match="timeout is a number of seconds"):
        store.watch({}, timeout)


@pytest.mark.parametrize(
    "revision", [None, 1, (1,), (1, 2, 3), (-1, 0), ("a", "b"), "ab"], ids=repr
)
def test_what_is_no_revision_is_refused(store, revision):
    with pytest.raises(TypeError, match="a revision is"):
        store.watch({"k": revision}, 0)
    with pytest.raises(TypeError, match="a revision is"):
        store.compare_and_set("k", revision, 1)


def test_d21_namespaces_nest_and_list_relative_keys(store):
    a, ab = store.namespace("a"), store.namespace("ab")
    inner = a.namespace("b")
    for number, part in enumerate([store, a, ab, inner]):
        part.set("k", number)
    assert [part.get("k") for part in (store, a, ab, inner)] == [0, 1, 2, 3]
    assert [part.list() for part in (store, a, ab, inner)] == [["k"]] * 4
    assert inner.watch({"k": Revision()}, 0)[0].key == "k"
    for name, error in [("", ValueError), ("n" * 256, ValueError), ("\udcff", ValueError)]:
        with pytest.raises(error):
            store.namespace(name)
    with pytest.raises(TypeError):
        store.namespace(1)
    del store
    assert inner.update("k", increment).new == 4, "a namespace keeps its store"


def test_a_namespace_is_renamed_with_all_that_is_in_it(store):
    old, new = store.namespace("old"), store.namespace("new")
    old.set("k", 1)
    old.namespace("inner").set("deep", 2)
    assert store.rename_namespace("old", "new") == 2
    assert (new.get("k"), new.namespace("inner").get("deep"), old.list()) == (1, 2, [])
    old.set("k", 3)
    with pytest.raises(penstock.Conflict, match='"k"'):
        store.rename_namespace("old", "new")
    assert (old.get("k"), new.get("k")) == (3, 1)
    with pytest.raises(penstock.InvalidArgument):
        store.rename_namespace("old", "")


def bits(number):
    return struct.pack("d", number)


def test_d22_what_is_given_back_is_the_same_on_every_adapter(store):
    values = [
        True, False, 0, 2**63 - 1, -(2**63), 2**53 + 1, "", "a\0b", "\udcff\udcfe", "\U0001f600",
        "2023-06-01T12:00:00.000Z", b"", b"\0\xff", [], {}, {"z": 1, "a": [1.5, None], "": 2},
    ]  # fmt: skip
    for value in values:
        store.set("k", value)
        assert store.get("k") == value
        assert type(store.get("k")) is type(value)
    assert list(store.set("k", {"z": 1, "a": 2})) == list(store.get("k")) == ["z", "a"]
    for number in (0.0, -0.0, 0.1, 5e-324, math.inf, -math.inf, math.nan, -math.nan):
        store.set("k", number)
        assert bits(store.get("k")) == bits(number)


ANSWER = """
import sys
from penstock import Datastore

address, table = sys.argv[1:]
store = Datastore.open(address, table=table)
seen = (0, 0)
for _ in range(5):
    (question,) = store.watch({"question": seen}, 600)
    seen = question.revision
    store.set("answer", question.value * 2)
"""


def test_d23_processes_see_each_others_writes_without_reopening(shared_place):
    store = shared_place.open()
    with running(ANSWER, shared_place) as other:
        seen = Revision()
        for number in range(5):
            store.set("question", number)
            (answer,) = store.watch({"answer": seen}, LONG)
            seen = answer.revision
            assert answer.value == store.get("answer") == 2 * number
        assert other.wait(LONG) == 0


def test_other_threads_run_while_one_waits_for_a_lock(shared_place, pool):
    """Held by a process, so that nothing here has to run for the wait to end."""
    store = shared_place.open(lock_timeout=0.5)
    with running(STAY, shared_place) as holder:
        assert holder.stdout.readline() == b"entered\n"
        for wait in (
            lambda: store.set("k", 1),
            lambda: store.update("k", increment, 0),
            lambda: store.remove("k"),
            lambda: store.compare_and_set("k", Revision(), 1),
        ):
            waiting = pool.submit(wait)
            steps = 0
            while not waiting.done():
                steps += 1
                threading.Event().wait(0.01)
            assert isinstance(waiting.exception(), penstock.LockTimeout)
            assert steps >= 10


FORK = """
import os, sys
import penstock

address, table = sys.argv[1:]
store = penstock.Datastore.open(address, table=table)
store.set("k", 1)
child = os.fork()
if child == 0:
    code = 1
    try:
        store.get("k")
    except penstock.Closed:
        del store
        code = 0
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
assert store.update("k", lambda k: k + 1).new == 2
"""


def test_forked_child_is_refused_and_disturbs_nobody(shared_place):
    with running(FORK, shared_place) as forking:
        assert forking.wait(LONG) == 0


@pytest.mark.parametrize(
    "address, why",
    [
        ("", "no address"), ("store", "no address"), ("mysql://localhost/x", "no address"),
        ("file:", "names no directory"), ("sqlite:", "names no file"), ("file://h/x", "host"),
    ],
)  # fmt: skip
def test_wrong_address_is_refused(address, why):
    with pytest.raises(penstock.ConfigurationError, match=why):
        Datastore.open(address)


@pytest.mark.parametrize(
    "options",
    [
        {"lock_timeout": 0}, {"lock_timeout": -1}, {"lock_timeout": math.nan},
        {"lock_timeout": 86_401}, {"table": ""}, {"table": "t" * 64}, {"reshuffle_table": True},
    ],
    ids=str,
)  # fmt: skip
def test_absurd_option_is_refused(options):
    with pytest.raises(penstock.ConfigurationError, match=next(iter(options)).split("_")[0]):
        Datastore.open("memory:", **options)


def test_file_that_is_no_database_is_refused_and_not_touched(tmp_path):
    file = tmp_path / "mine"
    file.write_text("mine " * 1000)
    with pytest.raises(penstock.Error, match=str(file)):
        Datastore.open(f"sqlite:{file}")
    with pytest.raises(penstock.IoError, match="is a file"):
        Datastore.open(f"file:{file}")
    assert file.read_text() == "mine " * 1000


def test_wrong_credentials_are_refused_without_the_password(postgresql):
    host = f"host={postgresql.directory}"
    for address, why in [
        (f"postgresql://locked:secretly@/postgres?{host}", "password authentication failed"),
        (f"postgresql://locked@/postgres?{host}", "no password supplied"),
        (postgresql.address("nobody-there"), "nobody-there"),
    ]:
        with pytest.raises(penstock.ConfigurationError, match=why) as raised:
            Datastore.open(address)
        assert "secretly" not in str(raised.value)
    store = Datastore.open(f"postgresql://locked:right@/postgres?{host}", table="locked")
    assert store.set("k", 1) == 1


def test_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(penstock.Unavailable, match=str(tmp_path)) as raised:
        Datastore.open(f"postgresql:///postgres?host={tmp_path}")
    assert isinstance(raised.value, ConnectionError)


def test_connection_lost_in_an_update_changes_nothing(postgresql):
    store = Datastore.open(postgresql.address(), table="lost")
    store.set("k", 1)
    with pytest.raises(penstock.Unavailable, match="nothing was changed"):
        store.update("k", lambda k: end_connections(postgresql) and k + 1)
    assert store.update("k", increment).new == 2


def end_connections(postgresql):
    return postgresql.sql(
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


def test_store_that_goes_ends_its_connections(postgresql):
    name = "penstock-test-goes"
    address = postgresql.address(more=f"&application_name={name}")
    count = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'"
    store = Datastore.open(address, table="goes")
    store.set("k", 1)
    assert int(postgresql.sql(count)) > 0
    del store
    assert eventually(lambda: postgresql.sql(count) == "0")


def test_table_of_reshuffle_is_read_and_written_as_it_does(postgresql):
    postgresql.sql("CREATE TABLE theirs (id VARCHAR PRIMARY KEY, value VARCHAR)")
    postgresql.sql("""INSERT INTO theirs VALUES ('n', '5'), ('Svc:seen', '{"b": [1.5, null]}')""")
    with pytest.raises(penstock.ConfigurationError, match="not made by a Datastore"):
        Datastore.open(postgresql.address(), table="theirs")
    store = Datastore.open(postgresql.address(), table="theirs", reshuffle_table=True)
    assert store.namespace("Svc").get("seen") == {"b": [1.5, None]}
    assert store.update("n", increment).new == 6
    assert postgresql.sql("SELECT value FROM theirs WHERE id = 'n'") == "6"
    for value in (math.nan, b"x", 2**53 + 1):
        with pytest.raises(penstock.InvalidArgument):
            store.set("n", value)
