# SPDX-License-Identifier: Apache-2.0
"""Durable state of a program."""

from .._core import set_store_memory_limit, store_memory
from .localfilestorage import LocalFileStorage

__all__ = ["LocalFileStorage", "set_store_memory_limit", "store_memory"]
