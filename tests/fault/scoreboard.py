#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes down what a row of the scoreboard found: scripts/fault runs it after each row.

usage: scoreboard.py PAGE ROW SCALE SECONDS passed|failed LOG

PAGE has a table between two marker lines, one line per row and scale; that of ROW and SCALE is
written anew from the lines of LOG that begin with "row", and the others stay.
"""

import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

BEGIN, END = "<!-- scoreboard: written by scripts/fault -->", "<!-- end of scoreboard -->"
HEAD = ["| row | scale | last run | outcome | found |", "|---|---|---|---|---|"]
SCALES = ["full", "release"]
ROOT = Path(__file__).resolve().parents[2]


def figures(log: str) -> str:
    """What the row said of itself, each line once, without its name."""
    found = []
    for line in log.splitlines():
        match = re.match(r"row [^:]*?(?:, ([^:]+))?: (.*)$", line)
        if match:
            text = f"{match[1]}: {match[2]}" if match[1] else match[2]
            if text not in found:
                found.append(text)
    planted = re.search(r"(\d+)% tests passed, (\d+) tests failed out of (\d+)", log)
    if planted:
        found.append(f"{int(planted[3]) - int(planted[2])} of {planted[3]} caught")
    return "; ".join(found).replace("|", "\\|")


def order(line: str) -> tuple[int, str, int]:
    row, scale = (cell.strip() for cell in line.split("|")[1:3])
    return (int(row) if row.isdigit() else 1000, row, SCALES.index(scale))


def updated(page: str, row: str, scale: str, entry: str) -> str:
    before, rest = page.split(BEGIN + "\n", 1)
    table, after = rest.split(END, 1)
    lines = [line for line in table.splitlines() if line.startswith("| ") and line not in HEAD]
    lines = [line for line in lines if not line.startswith(f"| {row} | {scale} |")]
    lines = sorted(lines + [entry], key=order)
    return before + "\n".join([BEGIN, *HEAD, *lines, END]) + after


def commit(root: Path, page: str) -> str:
    """What was tested, "" where git does not say. PAGE itself changes from row to row."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    if not shutil.which("git") or not (name := git("describe", "--always").strip()):
        return ""
    changed = git("status", "--porcelain", "--untracked-files=no").splitlines()
    dirty = any(Path(line[3:]).name != Path(page).name for line in changed)
    return f", {name}-dirty" if dirty else f", {name}"


def main(page: str, row: str, scale: str, seconds: str, outcome: str, log: str) -> None:
    found = figures(Path(log).read_text(errors="replace"))
    run = f"{date.today()}, {seconds} s{commit(ROOT, page)}"
    entry = f"| {row} | {scale} | {run} | {outcome} | {found} |"
    path = Path(page)
    path.write_text(updated(path.read_text(), row, scale, entry))


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
