# SPDX-License-Identifier: Apache-2.0
"""What `await` does with a Pending of the compiled module."""

from __future__ import annotations

import asyncio
from typing import Any

from ._core import Pending


async def wait(pending: Pending[Any]) -> Any:
    if not pending.done():
        # The writes of a moment share one sync, so the executor's few threads are enough.
        await asyncio.get_running_loop().run_in_executor(None, pending.result)
    return pending.result()
