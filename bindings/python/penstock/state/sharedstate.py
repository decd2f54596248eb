# SPDX-License-Identifier: Apache-2.0
"""Named values that every thread of a process shares.

    state = SharedState()
    state.set("hits", 0, ["web"])
    state.update("hits", lambda hits: hits + 1)
"""

from __future__ import annotations

import atexit
import contextlib
import weakref
from typing import Any, NamedTuple

from .._core import Closed, SharedGuard, SharedState

__all__ = ["AutosaveStatus", "SharedEntry", "SharedGuard", "SharedState", "SharedUpdate"]


class SharedEntry(NamedTuple):
    """One name, as it was at some moment."""

    name: str
    value: Any
    scopes: list[str]


class SharedUpdate(NamedTuple):
    """What an update found, or the default that was given, and left."""

    old: Any
    new: Any


class AutosaveStatus(NamedTuple):
    """What became of autosave."""

    saves: int
    failures: int
    last_failure: str  # empty once a save went well again


# Those that save themselves: the interpreter may end without destroying them.
_closed_at_exit: weakref.WeakSet[SharedState] = weakref.WeakSet()


@atexit.register
def _close_at_exit() -> None:
    for state in list(_closed_at_exit):
        with contextlib.suppress(Closed):  # in a forked child it is the parent's
            state.close()
