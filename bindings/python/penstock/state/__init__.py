# SPDX-License-Identifier: Apache-2.0
"""Durable state of a program."""

from .localfilestorage import LocalFileStorage

__all__ = ["LocalFileStorage"]
