# SPDX-License-Identifier: Apache-2.0
"""Stream processing with crash-safe state."""

from ._core import (
    Closed,
    ConfigurationError,
    Corruption,
    DiskFull,
    Error,
    FormatTooNew,
    InvalidArgument,
    IoError,
    JournalFailed,
    KeyNotFound,
    MemoryExceeded,
    OwnedElsewhere,
    TypeMismatch,
    __version__,
)

__all__ = [
    "Closed",
    "ConfigurationError",
    "Corruption",
    "DiskFull",
    "Error",
    "FormatTooNew",
    "InvalidArgument",
    "IoError",
    "JournalFailed",
    "KeyNotFound",
    "MemoryExceeded",
    "OwnedElsewhere",
    "TypeMismatch",
    "__version__",
]
