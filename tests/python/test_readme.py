# SPDX-License-Identifier: Apache-2.0
"""README's Python runs as it stands there."""

import pathlib
import re
import subprocess
import sys

import pytest

README = pathlib.Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)


def test_readme_has_python():
    assert BLOCKS


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block, tmp_path):
    command = [sys.executable, "-W", "error", "-c", block]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
