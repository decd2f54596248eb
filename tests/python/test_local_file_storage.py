# SPDX-License-Identifier: Apache-2.0
"""LocalFileStorage from Python. What the C++ tests prove of the store is not proved again."""

import ast
import asyncio
import errno
import inspect
import math
import os
import pathlib
import resource
import runpy
import subprocess
import sys
import threading

import penstock
import pytest
from penstock import _core
from penstock.state import LocalFileStorage, set_store_memory_limit, store_memory

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def storage(tmp_path):
    with LocalFileStorage(tmp_path / "state") as opened:
        yield opened


def test_quix_example_runs_as_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STATE_DIR", str(tmp_path / "state"))
    names = runpy.run_path(str(HERE / "quix_example.py"))
    storage = names["storage"]
    assert names["value"] == 12.51
    assert storage.containsKey("KEY1") is True
    assert storage.get("KEY2") == "str"
    assert storage.get("KEY3") is True
    assert storage.get("KEY4") is False
    assert storage.directory == str(tmp_path / "state")
    storage.close()


def test_default_directory_is_state(tmp_path, monkeypatch):
    monkeypatch.delenv("PENSTOCK_STATE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    with LocalFileStorage() as storage:
        storage.set("key", 1)
    with LocalFileStorage(tmp_path / "state") as storage:
        assert storage.get("key") == 1


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, 1, -9875, 2**63 - 1, -(2**63), 0.0, 12.51, -12.51, math.inf,
        -math.inf, 5e-324, "", "test", "a\0b", "\U0001f600", "\udcff", b"", b"\x80\x04N.",
        [], [1, "a", None, [True]], {}, {"test": "me", "nested": {"list": [1.5]}},
    ],
    ids=repr,
)  # fmt: skip
def test_value_survives_with_its_type(tmp_path, value):
    with LocalFileStorage(tmp_path) as storage:
        storage.set("key", value)
    with LocalFileStorage(tmp_path) as storage:
        read = storage.get("key")
        assert read == value
        assert type(read) is type(value)


def test_value_near_to_a_type_becomes_it(storage):
    class Index:
        def __index__(self):
            return 7

    class Text(str):
        pass

    storage["bytearray"] = bytearray(b"x")
    storage["tuple"] = (1, (2,))
    storage["index"] = Index()
    storage["text"] = Text("x")
    storage["nan"] = math.nan
    storage["negative zero"] = -0.0
    assert storage["bytearray"] == b"x" and type(storage["bytearray"]) is bytes
    assert storage["tuple"] == [1, [2]]
    assert storage["index"] == 7
    assert type(storage["text"]) is str
    assert math.isnan(storage["nan"])
    assert math.copysign(1, storage["negative zero"]) == -1


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**100, [2**63]], ids=str)
def test_int_beyond_64_bits_overflows(storage, value):
    with pytest.raises(OverflowError):
        storage.set("key", value)
    with pytest.raises(OverflowError):
        storage.setAsync("key", value).result()
    assert not storage.containsKey("key")


@pytest.mark.parametrize(
    "value", [1j, object(), {1: 2}, {"a": object()}, {1, 2}, "\ud800"], ids=repr
)
def test_what_cannot_be_stored_is_refused(storage, value):
    with pytest.raises((TypeError, UnicodeEncodeError)):
        storage.set("key", value)
    assert len(storage) == 0


def test_list_that_holds_itself_is_refused(storage):
    endless = []
    endless.append(endless)
    with pytest.raises(penstock.InvalidArgument):
        storage.set("key", endless)


def test_missing_key_is_named(storage):
    with pytest.raises(penstock.KeyNotFound, match='there is no key "no such key"') as raised:
        storage.get("no such key")
    assert isinstance(raised.value, KeyError)
    assert str(raised.value).startswith("there is no key")
    assert storage.getOr("no such key", 5) == 5
    assert storage.get_or_async("no such key", 5).result() == 5
    with pytest.raises(KeyError):
        del storage["no such key"]
    storage.remove("no such key")


@pytest.mark.parametrize("key", ["", "k" * 65537])
def test_key_outside_the_limits_is_refused(storage, key):
    with pytest.raises(ValueError, match="1 B to 64 KiB"):
        storage.set(key, 1)
    with pytest.raises(penstock.InvalidArgument):
        storage.containsKey(key)


def test_key_that_is_no_str_is_refused(storage):
    with pytest.raises(TypeError):
        storage.set(1, 1)


def test_any_str_is_a_key(storage):
    keys = ["/", "../x", "a\0b", "~", "Key", "key", "\U0001f600", "\udcff", "k" * 65536]
    for key in keys:
        storage.set(key, key)
    assert sorted(storage.getAllKeys()) == sorted(keys)
    for key in keys:
        assert storage.get(key) == key


def test_behaves_as_a_mapping(storage):
    storage["b"] = 1
    storage["a"] = 2
    storage["a2"] = 3
    assert "a" in storage and "c" not in storage
    assert len(storage) == 3
    assert list(storage) == ["a", "a2", "b"]
    assert storage.keys("a") == ["a", "a2"]
    del storage["a"]
    assert storage.get_all_keys() == ["a2", "b"]
    assert dict(storage) == {"a2": 3, "b": 1}


def test_clear_takes_sub_storages_too(storage):
    child = storage.sub_storage("child/..")
    child.set("key", 1)
    storage.set("key", 2)
    assert storage.subStorage("child/..").get("key") == 1
    storage.clear()
    assert len(child) == 0 and len(storage) == 0


def test_twins(storage):
    for value in (1, 1.5, "text", b"bytes", True, None, [1]):
        assert storage.setAsync("key", value).result() is None
        assert storage.getAsync("key").result() == value
    assert storage.containsKeyAsync("key").result() is True
    assert storage.getAllKeysAsync().result() == ["key"]
    assert storage.removeAsync("key").result() is None
    assert storage.contains_key_async("key").result(timeout=0) is False
    storage.set("key", 1)
    storage.flushAsync().result(timeout=60)
    storage.clearAsync().result()
    assert len(storage) == 0
    failed = storage.getAsync("key")
    assert failed.done()
    for _ in range(2):
        with pytest.raises(penstock.KeyNotFound):
            failed.result()


def test_twins_can_be_awaited(storage):
    async def work():
        await asyncio.gather(*(storage.setAsync(f"key{i}", i) for i in range(200)))
        await storage.set_async("last", True)
        with pytest.raises(penstock.KeyNotFound):
            await storage.get_async("absent")
        return [await storage.getAsync(f"key{i}") for i in range(200)]

    assert asyncio.run(work()) == list(range(200))
    assert storage.get("last") is True


def test_dropped_results_are_still_carried_out(tmp_path):
    with LocalFileStorage(tmp_path) as storage:
        for i in range(1000):
            storage.setAsync(f"key{i}", i)
    with LocalFileStorage(tmp_path) as storage:
        assert len(storage) == 1000


def test_threads_share_a_storage(tmp_path):
    with LocalFileStorage(tmp_path, durability="buffered") as storage:

        def write(number):
            for i in range(200):
                storage.set(f"{number}-{i}", b"x" * 1000)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(storage) == 1600


def test_closed_storage_says_so(tmp_path):
    storage = LocalFileStorage(tmp_path)
    storage.close()
    storage.close()
    with pytest.raises(penstock.Closed):
        storage.get("key")
    with pytest.raises(penstock.Closed):
        storage.setAsync("key", 1).result()


def test_closing_under_writers_keeps_what_they_were_told_and_ends_them(tmp_path):
    for number in range(10):
        storage = LocalFileStorage(tmp_path / str(number))
        told, ends, writing = [], [], threading.Barrier(5)

        def write(self, storage=storage, told=told, ends=ends, writing=writing):
            try:
                for i in range(1_000_000):
                    storage.set(f"{self}-{i}", i)
                    told.append(f"{self}-{i}")
                    if i == self:
                        writing.wait()
            except Exception as end:
                ends.append(type(end))

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        writing.wait()
        storage.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert ends == [penstock.Closed] * 4
        with LocalFileStorage(tmp_path / str(number)) as opened:
            assert set(told) <= set(opened.getAllKeys())


def test_second_process_is_refused_by_name_of_the_holder(tmp_path):
    program = f"from penstock.state import LocalFileStorage; LocalFileStorage({str(tmp_path)!r})"
    with LocalFileStorage(tmp_path):
        refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert refused.returncode == 1
        assert "OwnedElsewhere" in refused.stderr and str(os.getpid()) in refused.stderr
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "options",
    [{"durability": "sync"}, {"sync_interval": 0}, {"sync_interval": math.nan}, {"engine": "lsm"}],
    ids=str,
)
def test_absurd_option_is_refused(tmp_path, options):
    with pytest.raises(penstock.ConfigurationError):
        LocalFileStorage(tmp_path, **options)


def test_memory_engine_leaves_nothing_on_disk(tmp_path):
    with LocalFileStorage(tmp_path, engine="memory") as storage:
        storage.set("key", 1)
        assert storage.get("key") == 1
    assert not any(tmp_path.iterdir())
    with LocalFileStorage(tmp_path) as storage:
        assert "key" not in storage


def test_memory_bound(tmp_path):
    used, limit = store_memory()
    assert used < limit
    with pytest.raises(penstock.InvalidArgument):
        set_store_memory_limit(1 << 20)
    set_store_memory_limit(16 << 20)
    try:
        assert store_memory()[1] == 16 << 20
        with LocalFileStorage(tmp_path, engine="memory", durability="buffered") as storage:
            with pytest.raises(penstock.MemoryExceeded) as refused:
                for number in range(64):
                    storage.set(f"key {number}", bytes(1 << 20))
            assert isinstance(refused.value, MemoryError)
            assert len(storage) > 0
    finally:
        set_store_memory_limit(limit)


def test_options(tmp_path):
    with pytest.raises(penstock.Error, match="absent"):
        LocalFileStorage(tmp_path / "absent", create_directory=False)
    with LocalFileStorage(tmp_path, lower_case_keys=True) as storage:
        storage.set("KEY", 1)
        assert storage.getAllKeys() == ["key"]


def test_values_are_copies(storage):
    storage["key"] = [1]
    read = storage["key"]
    read.append(2)
    assert storage["key"] == [1]
    storage["key"] = read
    assert storage["key"] == [1, 2]


def test_counter_survives_kill_9(tmp_path):
    confirmed = 0
    for kill in range(5):
        counter = subprocess.Popen(
            [sys.executable, str(HERE / "counter.py"), str(tmp_path)], stdout=subprocess.PIPE
        )
        with counter:
            for line in counter.stdout:
                number = int(line)
                assert number > confirmed
                if number >= confirmed + 100 * (kill + 1):
                    break
            counter.kill()
            # what was printed before the kill, but for a line torn by it
            rest = [line for line in counter.stdout if line.endswith(b"\n")]
            confirmed = int(rest[-1]) if rest else number
        with LocalFileStorage(tmp_path) as storage:
            assert storage.get("count") in (confirmed, confirmed + 1)


def test_os_errors_carry_errno_and_filename(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(penstock.IoError, match="is a file") as raised:
        LocalFileStorage(file)
    assert isinstance(raised.value, OSError)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOTDIR, str(file))
    assert file.read_text() == "mine"

    with LocalFileStorage(tmp_path / "state") as storage:
        storage.set("key", 1)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # as a full disk
        try:
            for write in (storage.set, lambda *what: storage.setAsync(*what).result()):
                with pytest.raises(penstock.DiskFull, match="once there is space") as raised:
                    write("large", b"x" * 5000)
                assert raised.value.errno == errno.EFBIG
                assert raised.value.filename.startswith(str(tmp_path / "state" / "segment-"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        storage.set("large", b"x" * 5000)
        assert len(storage) == 2


# a disk whose syncs take a second
SLOW_SYNC = """
#include <poll.h>
#include <unistd.h>
int fdatasync(int fd) { poll(0, 0, 1000); return fsync(fd); }
"""

ENDING = """
import sys, threading, time
from penstock.state import LocalFileStorage

storage = LocalFileStorage(sys.argv[1], durability="buffered", sync_interval=3600)
storage.set("key", 1)
began, ended, tenths = time.monotonic(), None, set()
def step():
    while ended is None:
        tenths.add(int((time.monotonic() - began) * 10))
thread = threading.Thread(target=step)
thread.start()
began = time.monotonic()
ENDED
ended = time.monotonic()
assert ended - began >= 1, "the sync was not slow"
assert len(tenths & set(range(1, 9))) >= 4, "the other thread stood still"
"""


@pytest.mark.parametrize("ending", ["del storage", "storage = None", "storage.close()"])
def test_other_threads_run_while_a_storage_syncs_at_its_end(tmp_path, ending):
    (tmp_path / "slow.c").write_text(SLOW_SYNC)
    library = tmp_path / "slow.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "slow.c"], check=True)
    subprocess.run(
        [sys.executable, "-c", ENDING.replace("ENDED", ending), tmp_path / "state"],
        check=True,
        timeout=60,
        env={**os.environ, "LD_PRELOAD": str(library)},
    )


def arguments_of(function):
    """[(name, kind, default)] of a parsed function, without self, which pybind11 types."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults = [None] * (len(positional) - len(spec.defaults)) + spec.defaults
    found = [(arg.arg, "positional", default) for arg, default in zip(positional, defaults)]
    found += [(arg.arg, "keyword", value) for arg, value in zip(spec.kwonlyargs, spec.kw_defaults)]
    return [
        (name, kind, default and ast.unparse(default))
        for name, kind, default in found
        if name != "self"
    ]


def parsed_signature(thing):
    """The first line that pybind11 writes into a docstring: name(arguments) -> type."""
    line = thing.__doc__.splitlines()[0]
    return ast.parse(f"def {line}: ...").body[0]


def test_pyi_says_what_the_module_has():
    pyi = ast.parse((pathlib.Path(penstock.__file__).parent / "_core.pyi").read_text())
    classes = {node.name: node for node in pyi.body if isinstance(node, ast.ClassDef)}
    things = {n: t for n, t in inspect.getmembers(_core, inspect.isclass) if n[0] != "_"}
    assert classes.keys() == things.keys()
    assert {n for n, t in things.items() if issubclass(t, Exception)} <= set(penstock.__all__)
    for name, thing in things.items():
        if issubclass(thing, Exception):
            bases = [ast.unparse(base) for base in classes[name].bases]
            assert bases == [base.__name__ for base in thing.__bases__], name
            continue
        written = {node.name: node for node in classes[name].body}
        has = {
            method: getattr(thing, method)
            for method, value in vars(thing).items()
            if callable(value) or isinstance(value, (property, staticmethod))
        }
        inherited = {"__new__", "__init__"} if "__init__" not in written else {"__new__"}
        assert written.keys() == has.keys() - inherited - {"_pybind11_conduit_v1_"}, name
        for method, node in written.items():
            if isinstance(has[method], property):
                assert [ast.unparse(d) for d in node.decorator_list] == ["property"], method
                continue
            signature = parsed_signature(has[method])
            if signature.args.vararg:  # __exit__(*args): the pyi may say more
                continue
            assert arguments_of(node) == arguments_of(signature), f"{name}.{method}"
            told = ast.unparse(node.returns)
            known = ast.unparse(signature.returns)
            if told in ("None", "bool", "int", "str"):
                assert known == told, f"{name}.{method}"
            if not method.startswith("_"):
                assert "\n" in has[method].__doc__, f"{name}.{method} is not explained"
