# SPDX-License-Identifier: Apache-2.0
"""The scoreboard keeps one line per row and scale, in order, with what the row's run said."""

import re
import shutil
import subprocess
from pathlib import Path

import scoreboard

ROOT = Path(__file__).resolve().parents[2]
PAGE = f"before\n\n{scoreboard.BEGIN}\n{scoreboard.END}\nafter\n"
LOG = """Running main() from gtest_main.cc
row 9, open: 10 states, 0 violations
row 9, read: 20 states, 0 violations
row 9, read: 20 states, 0 violations
row 9: 3 | 4
[  PASSED  ] 2 tests.
"""


def test_the_lines_of_a_run_become_one_entry():
    found = scoreboard.figures(LOG)
    assert found == "open: 10 states, 0 violations; read: 20 states, 0 violations; 3 \\| 4"


def test_planted_bugs_are_counted():
    assert scoreboard.figures("90% tests passed, 2 tests failed out of 20") == "18 of 20 caught"


def test_a_row_replaces_its_own_line_and_rows_are_in_order():
    page = PAGE
    for row, scale in [("22", "full"), ("planted", "full"), ("9", "release"), ("9", "full")]:
        page = scoreboard.updated(page, row, scale, f"| {row} | {scale} | old |")
    page = scoreboard.updated(page, "9", "full", "| 9 | full | new |")
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert lines[1:] == [
        "| 9 | full | new |",
        "| 9 | release | old |",
        "| 22 | full | old |",
        "| planted | full | old |",
    ]
    assert page.startswith("before\n") and page.endswith("\nafter\n")


def test_the_page_has_the_table(tmp_path):
    copy = tmp_path / "page.md"
    copy.write_text((ROOT / "docs/how-penstock-is-tested.md").read_text())
    log = tmp_path / "log"
    log.write_text(LOG)
    scoreboard.main(str(copy), "9", "full", "12", "passed", str(log))
    assert re.search(r"-\d\d, 12 s(, [\w.-]+)? \| passed \| open: 10 states", copy.read_text())


def test_the_commit_is_named_and_whether_more_than_the_page_differs_from_it(tmp_path):
    assert scoreboard.commit(tmp_path, "page.md") == ""
    if not shutil.which("git"):
        return

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    git("init")
    for name in ("page.md", "code.cpp"):
        (tmp_path / name).write_text("old")
    git("add", ".")
    git("commit", "-m", "all")
    clean = scoreboard.commit(tmp_path, "docs/page.md")
    assert re.fullmatch(r", [0-9a-f]{7,}", clean)
    (tmp_path / "page.md").write_text("new")
    assert scoreboard.commit(tmp_path, "docs/page.md") == clean
    (tmp_path / "code.cpp").write_text("new")
    assert scoreboard.commit(tmp_path, "docs/page.md") == clean + "-dirty"
