# SPDX-License-Identifier: Apache-2.0
"""The Python of README and the guide runs as it stands there."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BLOCKS = {
    page: re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.M | re.S)
    for page in ("README.md", "docs/guide.md")
}


@pytest.mark.parametrize("page", BLOCKS)
def test_page_has_python(page):
    assert BLOCKS[page]


@pytest.mark.parametrize("block", sum(BLOCKS.values(), []))
def test_block_runs(block, tmp_path):
    command = [sys.executable, "-W", "error", "-c", block]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
