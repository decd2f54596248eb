# SPDX-License-Identifier: Apache-2.0
"""What several tests need."""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

from penstock import Datastore

NOBODY = 65534
LONG = 60  # seconds for what comes at once on an idle machine


def eventually(condition, seconds=LONG):
    """Whether it became true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.005)
    return True


class PostgresqlServer:
    """One real server in a temporary directory, reached by a socket in it, so that it takes no
    port. Run by root it belongs to an unprivileged user, as PostgreSQL demands. It ends with this
    process, however that ends.

    Anybody may connect as `penstock`, the superuser; `locked` has to give the password `right`.
    """

    def __init__(self):
        # the newest of Debian's, which are not on the PATH
        self.programs = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        self.files = tempfile.TemporaryDirectory(prefix="penstock-")
        self.directory = pathlib.Path(self.files.name)
        if os.geteuid() == 0:
            os.chown(self.directory, NOBODY, NOBODY)
        data = self.directory / "data"
        command = [self.programs / "initdb", "--pgdata", data, "--username=penstock"]
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        made = self.start(*command, *options, "--wal-segsize=1")
        assert made.wait(LONG) == 0, self.log()
        (data / "pg_hba.conf").write_text("local all locked scram-sha-256\nlocal all all trust\n")
        settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        command = [self.programs / "postgres", "-D", data, "-k", self.directory, *settings]
        self.server = self.start(*command)
        ready = [self.programs / "pg_isready", "-q", "-h", self.directory]
        assert eventually(lambda: subprocess.run(ready).returncode == 0), self.log()
        self.sql("CREATE ROLE locked LOGIN PASSWORD 'right'; GRANT ALL ON SCHEMA public TO locked")

    def start(self, *command):
        unprivileged = ["setpriv", "--pdeathsig", "QUIT"]  # with its children
        if os.geteuid() == 0:
            unprivileged += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        with open(self.directory / "log", "ab") as log:
            return subprocess.Popen([*unprivileged, *command], stdout=log, stderr=log, cwd="/")

    def stop(self):
        self.server.send_signal(signal.SIGINT)  # which ends its clients
        self.server.wait(LONG)
        self.files.cleanup()

    def log(self):
        return (self.directory / "log").read_text()

    def address(self, user="penstock", more=""):
        return f"postgresql:///postgres?host={self.directory}&user={user}{more}"

    def sql(self, statements):
        """What psql prints, without headings."""
        command = [self.programs / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.address()]
        done = subprocess.run([*command, "-c", statements], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Place:
    """Where the datastore of one test lies."""

    def __init__(self, adapter, address, **options):
        self.adapter = adapter
        self.address = address
        self.options = options

    def open(self, **options):
        return Datastore.open(self.address, **self.options, **options)

    def arguments(self):
        """For a program that opens it too."""
        return [self.address, self.options.get("table", "penstock_datastore")]


@contextlib.contextmanager
def held_update(store, key, becomes):
    """Another thread stays in an updater of the key while the block runs."""
    entered, leave = threading.Event(), threading.Event()

    def stay(_):
        entered.set()
        assert leave.wait(LONG)
        return becomes

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        update = pool.submit(store.update, key, stay)
        try:
            assert entered.wait(LONG)
            yield
        finally:
            leave.set()
        update.result(LONG)


def still_waits(future):
    """As far as 50 ms can tell."""
    return not concurrent.futures.wait([future], timeout=0.05).done
