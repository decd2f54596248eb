# SPDX-License-Identifier: Apache-2.0
"""SharedState from Python. S1 to S23 are the cases that tests/state names so; what the C++ tests
prove of files and locks is not proved again."""

import concurrent.futures
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import penstock
import pytest
from penstock import SharedState
from penstock.state.sharedstate import AutosaveStatus, SharedEntry, SharedUpdate
from support import LONG, eventually, still_waits

ABSENT = object()


def increment(number):
    return number + 1


@pytest.fixture
def state():
    with SharedState() as opened:
        yield opened


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state.json"


def content_of(file):
    """{name: value} of what was saved."""
    with SharedState() as read:
        assert read.restore(file) is True
        return {entry.name: entry.value for entry in read.snapshot()}


def test_s1_every_call_after_close_fails_and_says_so(file):
    state = SharedState()
    state.set("a", 1)
    state.create_lock("lock")
    state.close()
    state.close()
    calls = [
        lambda: state.set("a", 1),
        lambda: state.get("a"),
        lambda: state.get_or("a", 1),
        lambda: state.entry("a"),
        lambda: state.remove("a"),
        lambda: state.update("a", increment),
        lambda: state["a"],
        lambda: state.__setitem__("a", 1),
        lambda: "a" in state,
        lambda: list(state),
        lambda: state.names(),
        lambda: state.snapshot(),
        lambda: state.create_lock("b"),
        lambda: state.find_or_create_lock("b"),
        lambda: state.lock("lock", 1),
        lambda: state.save(file),
        lambda: state.restore(file),
        lambda: state.import_pode(file),
        lambda: state.export_pode(file),
        lambda: state.autosave(file),
    ]
    for call in calls:
        with pytest.raises(penstock.Closed, match="closed"):
            call()
    assert not file.exists()


def test_s2_set_replaces_value_and_scopes(state):
    assert state.set("counter", 7, ["General", "Users"]) is None
    assert state.get("counter") == 7
    assert state.entry("counter") == SharedEntry("counter", 7, ["General", "Users"])
    state.set("counter", "eight")
    assert state.entry("counter") == SharedEntry("counter", "eight", [])


def test_item_reads_and_writes_like_a_variable_and_keeps_scopes(state):
    state.set("a", 1, {"General"})
    state["a"] = 2
    state["b"] = state["a"]
    assert state.entry("a") == ("a", 2, ["General"])
    assert state.entry("b") == ("b", 2, [])
    assert state["missing"] is None
    assert list(state) == ["a", "b"]


def test_s3_missing_is_not_none(state):
    state.set("none", None)
    assert state.get("none") is state.get("missing") is None
    assert "none" in state and "missing" not in state
    assert state.get_or("none", ABSENT) is None
    assert state.get_or("missing", ABSENT) is ABSENT
    assert state.entry("none") == ("none", None, []) and state.entry("missing") is None
    assert state.update("none", lambda found: [found], 5) == SharedUpdate(None, [None])
    assert state.update("absent", lambda found: None, 5) == SharedUpdate(5, None)
    assert "absent" in state


def test_s4_remove_returns_the_old_value_or_nothing(state):
    state.set("a", 8)
    assert state.remove("a") == 8
    assert state.remove("a") is None
    assert "a" not in state


def test_s5_names_pass_all_filters(state):
    state.set("zeta", 1, ["General"])
    state.set("alpha", 1, ["Users", "General"])
    state.set("beta", 1)
    state.set("Beta", 1, ["Users"])
    assert state.names() == ["zeta", "alpha", "beta", "Beta"]
    assert state.names(scopes=["General"]) == ["zeta", "alpha"]
    assert state.names(scopes=["general"]) == []
    assert state.names(include={"beta", "alpha", "unknown"}) == ["alpha", "beta"]
    assert state.names(exclude=("zeta", "unknown")) == ["alpha", "beta", "Beta"]
    assert state.names(pattern="^[ab].*a$") == ["alpha", "beta"]
    assert state.names(include=["beta"], scopes=["General"]) == [], "it lacks the scope"
    assert state.names(exclude=["zeta"], scopes=["General"], pattern="a") == ["alpha"]
    assert [entry.name for entry in state.snapshot(scopes=["Users"])] == ["alpha", "Beta"]
    with pytest.raises(penstock.InvalidArgument, match="regular expression"):
        state.names(pattern="(")


@pytest.mark.parametrize("argument", ["include", "exclude", "scopes"])
def test_str_in_the_place_of_a_list_is_refused(state, file, argument):
    for call in (state.names, state.snapshot, lambda **how: state.save(file, **how)):
        with pytest.raises(TypeError, match=rf"{argument} must be several str.*\['web'\]"):
            call(**{argument: "web"})
        with pytest.raises(TypeError, match="must be a str, not int"):
            call(**{argument: [1]})
    with pytest.raises(TypeError, match="scopes must be several str"):
        state.set("a", 1, "web")
    assert not file.exists()


@pytest.mark.parametrize(
    "name, error", [("", ValueError), ("n" * 513, ValueError), (1, TypeError)], ids=repr
)
def test_wrong_name_is_refused(state, name, error):
    for call in (
        lambda: state.set(name, 1),
        lambda: state.update(name, increment, 0),
        lambda: state.__setitem__(name, 1),
    ):
        with pytest.raises(error):
            call()
    assert state.names() == []
    state.set("\udcff\0/..", 1)
    assert state.names() == ["\udcff\0/.."]


@pytest.mark.parametrize("value", [object(), {1: 2}, {1}, 2**63], ids=repr)
def test_what_cannot_be_stored_is_refused(state, value):
    for call in (
        lambda: state.set("a", value),
        lambda: state.update("a", lambda _: value),
        lambda: state.__setitem__("a", value),
    ):
        with pytest.raises((TypeError, OverflowError)):
            call()
    assert state.names() == []


def test_what_was_read_is_a_copy(state):
    state.set("list", [1])
    for read in (state.get("list"), state["list"], state.snapshot()[0].value):
        read.append(2)
    default = []
    assert state.update("fresh", lambda found: found.append(1) or found, default).new == [1]
    assert default == []
    assert state.get("list") == [1]


class Refusal(Exception):
    pass


@pytest.mark.parametrize("kind", [Refusal, KeyboardInterrupt, penstock.KeyNotFound])
def test_update_that_raises_changes_nothing(state, pool, kind):
    state.set("a", [1], ["General"])
    error = kind("no")

    def refuse(found):
        if found:
            found.append(2)
        raise error

    for name in ("a", "absent"):
        with pytest.raises(kind) as raised:
            state.update(name, refuse)
        assert raised.value is error
    assert state.names() == ["a"]
    pool.submit(state.update, "a", lambda found: found + [3]).result(LONG)
    assert state.entry("a") == ("a", [1, 3], ["General"])


def test_function_of_an_update_may_read_but_not_write(state):
    state.set("a", 1)
    state.create_lock("lock")
    refused = [
        lambda: state.set("a", 1),
        lambda: state.remove("b"),
        lambda: state.update("b", increment, 0),
        lambda: state.__setitem__("b", 1),
        lambda: state.snapshot(),
        lambda: state.create_lock("c"),
        lambda: state.lock("lock", 1),
        lambda: state.close(),
    ]

    def try_all(found):
        for call in refused:
            with pytest.raises(penstock.InvalidArgument, match="may only read"):
                call()
        assert (state.get("a"), state.names()) == (1, ["a"])
        return found + 1

    assert state.update("a", try_all) == SharedUpdate(1, 2)


def test_others_run_while_the_function_of_an_update_does(state, pool):
    """It needs the GIL to end, which who waits for it must not hold."""
    state.set("a", 1)
    entered, leave = threading.Event(), threading.Event()

    def stay(found):
        entered.set()
        assert leave.wait(LONG)
        return found + 1

    updating = pool.submit(state.update, "a", stay)
    assert entered.wait(LONG)
    waiting = [
        pool.submit(state.update, "a", increment),
        pool.submit(state.set, "a", 1),
        pool.submit(state.__setitem__, "a", 1),
        pool.submit(state.remove, "a"),
    ]
    assert all(map(still_waits, waiting))
    assert state.get("a") == 1 and state.names() == ["a"] and len(state.snapshot()) == 1
    leave.set()
    assert updating.result(LONG) == SharedUpdate(1, 2)
    concurrent.futures.wait(waiting, LONG)


def test_s21_counter_that_eight_threads_update_is_exact(state, pool):
    def count(number):
        for _ in range(500):
            state.update("all", increment, 0)
            state.update(f"own {number}", increment, 0)

    for thread in [pool.submit(count, number) for number in range(8)]:
        thread.result(LONG)
    assert state["all"] == 8 * 500
    assert [state[f"own {number}"] for number in range(8)] == [500] * 8


def test_s22_lock_times_out_in_time_and_the_block_is_not_run(state, pool):
    state.create_lock("lock")
    run = []

    def under_lock(seconds):
        with state.lock("lock", seconds):
            run.append(True)

    with state.lock("lock", 1):
        with state.lock("lock", None):  # again by the same thread
            pass
        for seconds in (0, 0.05, 0.5):
            began = time.monotonic()
            with pytest.raises(penstock.LockTimeout, match=f"'lock' was not free within {seconds}"):
                pool.submit(under_lock, seconds).result(LONG)
            assert seconds <= time.monotonic() - began < 5
        waiting = [pool.submit(under_lock, time) for time in (None, LONG, math.inf)]
        assert all(map(still_waits, waiting))
        assert run == []
    for thread in waiting:
        thread.result(LONG)
    assert run == [True] * 3


def test_lock_is_free_when_its_object_goes_or_is_told(state, pool):
    def is_free():
        try:
            return pool.submit(lambda: state.lock("lock", 0).release()).result(LONG) is None
        except penstock.LockTimeout:
            return False

    state.find_or_create_lock("lock")
    state.find_or_create_lock("lock")
    guard = state.lock("lock", 1)
    assert not is_free()
    guard.release()
    guard.release()
    assert is_free()
    guard = state.lock("lock", 1)
    assert not is_free()
    del guard
    assert is_free()
    with pytest.raises(Refusal), state.lock("lock", 1):
        raise Refusal
    assert is_free()


def test_s22_unknown_lock_is_an_error_and_so_is_one_created_twice(state):
    state.set("value", 1)
    with pytest.raises(penstock.InvalidArgument, match='no lock "value"'):
        state.lock("value", None)
    state.create_lock("lock")
    with pytest.raises(penstock.InvalidArgument, match='"lock" is there already'):
        state.create_lock("lock")
    for time_to_wait in (-1, math.nan):
        with pytest.raises(penstock.InvalidArgument, match="at_most is a number of seconds"):
            state.lock("lock", time_to_wait)


def test_close_wakes_who_waits_for_a_lock(state, pool):
    state.create_lock("lock")
    with state.lock("lock", 1):
        waiting = [pool.submit(state.lock, "lock", None), pool.submit(state.snapshot, at_most=None)]
        assert all(map(still_waits, waiting))
        state.close()
        for thread in waiting:
            with pytest.raises(penstock.Closed):
                thread.result(LONG)


def test_ctrl_c_ends_the_wait_for_a_lock_within_a_second(state, pool):
    state.create_lock("lock")
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with state.lock("lock", 1):
            entered.set()
            assert leave.wait(LONG)

    def interrupt():
        threading.Event().wait(0.2)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    sent = []
    holding = pool.submit(hold)
    assert entered.wait(LONG)
    pool.submit(interrupt)
    with pytest.raises(KeyboardInterrupt):
        state.lock("lock", LONG)
    assert time.monotonic() - sent[0] < 1
    leave.set()
    holding.result(LONG)


def test_s23_snapshot_waits_for_those_who_hold_locks(state, pool):
    state.create_lock("pair")
    with state.lock("pair", 1):
        state["left"] = 1
        snapshot = pool.submit(state.snapshot, at_most=LONG)
        assert still_waits(snapshot)
        with pytest.raises(penstock.LockTimeout, match="pair"):
            pool.submit(state.snapshot, at_most=0.05).result(LONG)
        state["right"] = 1
    assert [entry.value for entry in snapshot.result(LONG)] == [1, 1]


def test_s6_save_writes_what_passes_the_filters(state, file):
    state.set("plain", 1)
    state.set("general", 2, ["General"])
    state.set("users", 3, ["Users", "General"])
    for how, names in [
        ({}, ["plain", "general", "users"]),
        ({"include": ["users", "plain", "unknown"]}, ["plain", "users"]),
        ({"exclude": ["general"]}, ["plain", "users"]),
        ({"scopes": ["General"]}, ["general", "users"]),
        ({"include": ["plain", "users"], "scopes": ["General"]}, ["users"]),
        ({"include": ["general"], "scopes": ["Users"]}, []),
    ]:
        for compress in (False, True):
            state.save(file, compress=compress, **how)
            text = file.read_text()
            assert (text.count("\n") == 1) == compress
            saved = json.loads(text)["values"]
            assert [entry["name"] for entry in saved] == names
    state.save(os.fsencode(file), include=["users"])
    assert json.loads(file.read_text())["values"] == [
        {"name": "users", "value": 3, "scopes": ["Users", "General"]}
    ]


def test_s7_filtered_save_replaces_the_file_and_a_merging_one_keeps_the_others(state, file):
    state["a"], state["b"] = 1, 1
    state.save(file)
    state.save(file, include=["a"])
    assert content_of(file) == {"a": 1}
    assert content_of(f"{file}.previous") == {"a": 1, "b": 1}
    with SharedState() as other:
        other["c"] = 3
        other.save(file, merge=True)
    assert content_of(file) == {"a": 1, "c": 3}


def test_s8_no_file_is_told_and_changes_nothing(state, file):
    state["a"] = 1
    assert state.restore(file) is False
    assert state.import_pode(file) is False
    assert state.names() == ["a"]


def test_s9_bad_file_is_refused_and_changes_nothing(state, file):
    state["a"] = 1
    state.save(file)
    whole = file.read_bytes()
    bad = {
        b"": penstock.Corruption, b" null": penstock.Corruption, b"{}": penstock.Corruption,
        whole + b" ": penstock.Corruption, whole.replace(b'"a"', b'"b"'): penstock.Corruption,
        b'{"a": 1}': penstock.ForeignFile, b"hello": penstock.ForeignFile,
    }  # fmt: skip
    bad.update({whole[:size]: penstock.Corruption for size in range(1, len(whole))})
    state["a"] = 2
    for content, error in bad.items():
        file.write_bytes(content)
        with pytest.raises(error, match=str(file)):
            state.restore(file)
    assert state["a"] == 2
    with pytest.raises(penstock.IoError) as raised:
        state.save(file.parent / "none" / "state.json")
    assert raised.value.filename.startswith(str(file.parent / "none"))


def test_error_says_a_path_whose_bytes_are_not_utf8(state, file):
    odd = file.parent / "\udcff"
    odd.write_bytes(b"")
    with pytest.raises(penstock.Corruption) as raised:
        state.restore(odd)
    assert str(odd) in str(raised.value)
    with pytest.raises(penstock.IoError) as raised:
        state.save(odd / "below")
    assert str(odd) in str(raised.value) and raised.value.filename.startswith(str(odd))


def test_save_follows_a_link_and_restore_refuses_what_is_no_file(state, file):
    link = file.parent / "link"
    link.symlink_to(file)
    state["a"] = 1
    state.save(link)
    assert link.is_symlink() and content_of(file) == {"a": 1}
    for path in ["", file.parent]:
        for call in [state.save, state.restore, state.import_pode, state.export_pode]:
            with pytest.raises(penstock.InvalidArgument, match="a file$"):
                call(path)


def test_file_of_another_application_is_refused(file):
    with SharedState(application="shop") as shop:
        shop["a"] = 1
        shop.save(file)
    with SharedState(application="bank") as bank:
        with pytest.raises(penstock.ForeignFile, match='"shop".*"bank"'):
            bank.restore(file)
    assert content_of(file) == {"a": 1}


def test_s10_restore_replaces_all_or_merges(state, file):
    state.set("both", 1, ["file"])
    state.set("file", 1)
    state.save(file)
    with SharedState() as other:
        other.set("memory", 2)
        other.set("both", 2, ["memory"])
        assert other.restore(file, merge=True) is True
        assert other.names() == ["memory", "both", "file"]
        assert other.entry("both") == ("both", 1, ["file"])
        assert other.restore(file) is True
        assert other.names() == ["both", "file"]


PODE_1 = {"counter": {"Value": 8, "Scope": []}, "users": {"Value": ["a"], "Scope": ["General"]}}


def test_s11_s12_files_of_pode_come_in_and_go_out(state, file):
    file.write_text(json.dumps({**PODE_1, "bare": 5}))
    assert state.import_pode(file) is True
    assert state.entry("users") == ("users", ["a"], ["General"])
    assert state["bare"] == 5
    state.export_pode(file, version=1, exclude=["bare"], compress=True)
    assert json.loads(file.read_text()) == PODE_1
    state.export_pode(file)
    assert json.loads(file.read_text())["__pode_state_metadata__"]["Version"] == 2
    before = state.snapshot()
    assert state.import_pode(file) is True
    assert state.snapshot() == before
    with pytest.raises(penstock.InvalidArgument, match="version 1 or 2"):
        state.export_pode(file, version=3)
    state["bytes"] = b"x"
    with pytest.raises(penstock.InvalidArgument, match="bytes"):
        state.export_pode(file)


def test_s13_to_s16_every_value_comes_back(state, file):
    values = [
        None, True, False, 0, 2**63 - 1, -(2**63), 0.0, 1.0, 0.1, math.inf, "", "\udcff", b"",
        b"\0\xff", "2026-01-02T03:04:05.0000000Z", [], [1], [[], [[1]], []], {}, {"z": 1, "a": 2},
        {"$binary": "AAA="},
    ]  # fmt: skip
    for number, value in enumerate(values):
        state[str(number)] = value
    state.save(file)
    assert state.restore(file)
    for number, value in enumerate(values):
        read = state[str(number)]
        assert read == value and type(read) is type(value)
        if isinstance(value, dict):
            assert list(read) == list(value)


def deep(depth):
    value = 1
    for _ in range(depth - 1):
        value = [value]
    return value


def test_s17_depth_100_works_and_beyond_the_limit_is_an_error(state, file):
    state["a"] = deep(100)
    state.save(file)
    assert content_of(file) == {"a": deep(100)}
    with pytest.raises(penstock.InvalidArgument, match="128 deep"):
        state["a"] = deep(129)
    assert state["a"] == deep(100)


def test_s18_every_file_is_a_consistent_cut(state, pool, file):
    state.create_lock("pair")
    state["left"] = state["right"] = 0
    stopping = threading.Event()

    def write():
        while not stopping.is_set():
            with state.lock("pair", LONG):
                state.update("left", increment)
                state.update("right", increment)

    writers = [pool.submit(write) for _ in range(8)]
    try:
        seen = set()
        for _ in range(20):
            state.save(file)
            content = content_of(file)
            assert content["left"] == content["right"]
            seen.add(content["left"])
    finally:
        stopping.set()
    for writer in writers:
        writer.result(LONG)
    assert len(seen) > 1


@pytest.mark.parametrize("how", [{"interval": 0.02}, {"after_change": 0.02}], ids=str)
def test_autosave_saves_by_itself(state, file, how):
    state.autosave(file, **how)
    for number in range(3):
        state["a"] = number
        assert eventually(lambda: file.exists() and content_of(file) == {"a": number})
    assert eventually(lambda: state.autosave_status().saves >= 3)  # it is counted behind
    assert state.autosave_status()[1:] == (0, "")


def test_autosave_saves_what_was_selected_at_close(file):
    with SharedState() as state:
        state.set("a", 1, ["keep"])
        state["b"] = 1
        state.autosave(file, cron="@yearly", scopes=["keep"], compress=True)
        assert state.autosave_status() == AutosaveStatus(0, 0, "")
        assert not file.exists()
    assert content_of(file) == {"a": 1}
    assert file.read_text().count("\n") == 1


def test_autosave_not_at_shutdown(file):
    with SharedState() as state:
        state["a"] = 1
        state.autosave(file, interval=3600, at_shutdown=False)
    assert not file.exists()


def test_autosave_saves_when_the_object_goes(file):
    state = SharedState()
    state["a"] = 1
    state.autosave(file)
    del state
    assert content_of(file) == {"a": 1}


@pytest.mark.parametrize(
    "how, why",
    [
        ({"path": ""}, "path is empty"), ({"interval": -1}, "interval"),
        ({"interval": math.inf}, "interval"), ({"after_change": math.nan}, "after_change"),
        ({"cron": "often"}, "cron"), ({"at_shutdown": False}, "no occasion"),
        ({"at_most": -1}, "at_most"),
    ],
    ids=str,
)  # fmt: skip
def test_absurd_autosave_is_refused(state, file, how, why):
    with pytest.raises(penstock.InvalidArgument, match=why):
        state.autosave(**{"path": file, **how})


def test_failure_of_an_autosave_is_told_and_the_save_tried_again(state, file, monkeypatch):
    unraisable, told = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: unraisable.append(what.exc_value))

    def on_failure(error):
        told.append((error, threading.get_ident()))
        raise Refusal

    directory = file.parent / "later"
    state["a"] = 1
    state.autosave(directory / file.name, interval=0.02, on_failure=on_failure)
    assert eventually(lambda: len(told) >= 2)
    error, thread = told[0]
    assert isinstance(error, penstock.IoError) and isinstance(error, OSError)
    assert error.filename.startswith(str(directory))
    assert thread != threading.get_ident()
    assert eventually(lambda: unraisable) and isinstance(unraisable[0], Refusal)
    status = state.autosave_status()
    assert status.failures >= 2 and status.last_failure == str(error)
    directory.mkdir()
    assert eventually(lambda: state.autosave_status().last_failure == "")
    assert content_of(directory / file.name) == {"a": 1}


def test_close_waits_for_on_failure_without_the_gil(file):
    told, leave = threading.Event(), threading.Event()

    def on_failure(_):
        told.set()
        assert leave.wait(LONG)

    state = SharedState()
    state["a"] = 1
    state.autosave(file / "x", interval=0.01, at_shutdown=False, on_failure=on_failure)
    assert told.wait(LONG)
    threading.Timer(0.1, leave.set).start()
    state.close()


def test_close_that_cannot_save_leaves_the_state_open(file):
    state = SharedState()
    state["a"] = 1
    state.autosave(file.parent / "later" / "state.json")
    with pytest.raises(penstock.IoError):
        state.close()
    state["a"] = 2
    (file.parent / "later").mkdir()
    state.close()
    assert content_of(file.parent / "later" / "state.json") == {"a": 2}


# one that is in a cycle, of which Python's collector knows nothing: it is never destroyed
AT_EXIT = """
import os, sys
from penstock import SharedState

state = SharedState()
state.autosave(sys.argv[1], interval=3600, on_failure=lambda error, keep=state: print(error))
state["a"] = 1
if os.fork() == 0:
    sys.exit()  # whose state it is not
assert os.wait()[1] == 0
state["a"] = 2
HOW
"""


@pytest.mark.parametrize(
    "how, code", [("", 0), ("sys.exit(3)", 3), ("raise KeyError", 1)], ids=["end", "exit", "raise"]
)
def test_autosave_saves_when_the_interpreter_exits(file, how, code):
    command = [sys.executable, "-c", AT_EXIT.replace("HOW", how), file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert ("KeyError" in done.stderr) if code == 1 else done.stderr == ""
    assert content_of(file) == {"a": 2}


def test_failure_at_exit_is_printed(file):
    program = AT_EXIT.replace("HOW", "os.rmdir(os.path.dirname(sys.argv[1]))")
    file.parent.joinpath("gone").mkdir()
    command = [sys.executable, "-c", program, file.parent / "gone" / "state.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
    assert "IoError" in done.stderr and str(file.parent / "gone") in done.stderr
