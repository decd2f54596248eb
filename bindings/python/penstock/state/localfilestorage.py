# SPDX-License-Identifier: Apache-2.0
"""Named values that survive restarts.

    storage = LocalFileStorage()
    storage.set("KEY1", 12.51)
    storage.get("KEY1")
"""

from .._core import LocalFileStorage, Pending

__all__ = ["LocalFileStorage", "Pending"]
