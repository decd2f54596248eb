# SPDX-License-Identifier: Apache-2.0
"""Named values that threads, processes and machines share.

    store = Datastore.open("file:./shared")
    store.update("visits", lambda visits: visits + 1, 0)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .._core import Datastore

__all__ = ["CompareAndSet", "Datastore", "DatastoreEntry", "DatastoreUpdate", "Revision"]


class Revision(NamedTuple):
    """Which of a key's values: another one after each change, also after a removal. To be compared
    with == only. False for an absent key."""

    created: int = 0
    changes: int = 0

    def __bool__(self) -> bool:
        return self.created != 0


class DatastoreEntry(NamedTuple):
    """A key with its value and revision at one moment."""

    key: str
    value: Any  # None: absent, or stored as None: see the revision
    revision: Revision


class DatastoreUpdate(NamedTuple):
    """What an update found and left; where the key is absent, the default that was given."""

    old: Any
    new: Any
    changed: bool  # False: nothing was written


class CompareAndSet(NamedTuple):
    """Whether compare_and_set wrote, and the revision that the key has now."""

    applied: bool
    revision: Revision
