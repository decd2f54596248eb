# SPDX-License-Identifier: Apache-2.0
import faulthandler
import itertools
import os
import pathlib
import tempfile

import pytest
from support import Place, PostgresqlServer

tables = itertools.count(1)


def pytest_configure(config):
    config.terminal = os.dup(2)  # before output is captured


@pytest.fixture(autouse=True)
def watchdog(request):
    """Ends the run when a test deadlocks while it holds the GIL, which nothing else can."""
    faulthandler.dump_traceback_later(1800, exit=True, file=request.config.terminal)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def postgresql():
    server = PostgresqlServer()
    yield server
    server.stop()


def place_of(adapter, request, directory):
    if adapter == "memory":
        return Place(adapter, "memory:")
    if adapter == "postgresql":
        address = request.getfixturevalue("postgresql").address()
        return Place(adapter, address, table=f'table "{next(tables)}"')
    return Place(adapter, f"{adapter}:{directory}/store")


@pytest.fixture(params=["memory", "file", "sqlite", "postgresql"])
def place(request, tmp_path):
    """One of each kind."""
    return place_of(request.param, request, tmp_path)


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def shared_place(request, tmp_path):
    """Those that processes share."""
    return place_of(request.param, request, tmp_path)


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def quick_place(request):
    """The same on a disk in memory, where the machine has one: syncs take no time."""
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield place_of(request.param, request, directory)


@pytest.fixture
def store(place):
    return place.open()
