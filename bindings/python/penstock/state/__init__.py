# SPDX-License-Identifier: Apache-2.0
"""State of programs: what is durable, what is shared, or both."""

from .._core import set_store_memory_limit, store_memory
from .datastore import Datastore
from .localfilestorage import LocalFileStorage
from .sharedstate import SharedState

__all__ = [
    "Datastore",
    "LocalFileStorage",
    "SharedState",
    "set_store_memory_limit",
    "store_memory",
]
