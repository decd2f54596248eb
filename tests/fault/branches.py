#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Row 19: says how many branches of state/ were taken, by file and in all.

usage: branches.py [--uncovered] BUILD

BUILD is a build of the preset coverage whose programs have run. --uncovered also names each line
that has a branch nothing took. Fails below TARGET. The last line begins with "row 19", for
scoreboard.py.

A branch is what `gcov -b` says is one, but for those that exist only because a call may throw:
  a call that may throw ends a block with two ways out; neither counts
  when it throws, what was made before is destroyed, and only the compiler asks whether it was
  the same on lines of braces alone, where scopes end
The code of a catch counts. Of a template the instantiations count as one.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TARGET = 95.0  # percent, of the scoreboard
ROOT = Path(__file__).resolve().parents[2]
WANTED = (f"{ROOT}/state/src/", f"{ROOT}/state/include/")


def decisions(branches: list[dict]) -> list[int]:
    """How often each was taken, without the pairs of ways out of a call that may throw."""
    counts: list[int | None] = []
    skip = False
    for i, branch in enumerate(branches):
        if skip:
            skip = False
        elif not branch["throw"]:
            counts.append(branch["count"])
        elif i > 0 and branches[i - 1]["fallthrough"] and not branches[i - 1]["throw"]:
            counts[-1] = None
        else:
            skip = i + 1 < len(branches) and branches[i + 1]["fallthrough"]
    return [count for count in counts if count is not None]


def folded(counts: list[int], functions: list[dict], line: int) -> list[int]:
    """Of a lambda in a template gcov lists the instantiations, one behind the other, as one."""
    starts = [(one["start_line"], one["start_column"]) for one in functions
              if one["start_line"] <= line <= one["end_line"]]
    copies = starts.count(max(starts)) if starts else 1
    if copies == 1 or len(counts) % copies != 0:
        return counts
    each = len(counts) // copies
    return [sum(counts[at::each]) for at in range(each)]


def merged(functions: dict[str, list[int]]) -> list[int]:
    """The branches of a line, of all functions that have it: instantiations are one."""
    by_length: dict[int, list[int]] = {}
    for counts in functions.values():
        before = by_length.setdefault(len(counts), [0] * len(counts))
        by_length[len(counts)] = [a + b for a, b in zip(before, counts)]
    return [count for counts in by_length.values() for count in counts]


def handlers(source: list[str]) -> set[int]:
    """The numbers of the lines of all catch blocks, the line of the catch included."""
    lines = set()
    for first, text in enumerate(source, 1):
        if not re.search(r"\bcatch \(", text):
            continue
        depth = 0
        for number in range(first, len(source) + 1):
            line = source[number - 1]
            line = line[line.index("catch ("):] if number == first else line
            depth += line.count("{") - line.count("}")
            lines.add(number)
            if depth <= 0:
                break
    return lines


def unwinding(text: str) -> dict[tuple[str, int], int]:
    """From `gcov -a -b`: the branches, by file and line, in blocks that only exceptions reach."""
    found: dict[tuple[str, int], int] = defaultdict(int)
    file, line, inside = "", 0, False
    for row in text.splitlines():
        if match := re.match(r" +-: +0:Source:(.*)", row):
            file = match[1]
        elif match := re.match(r" *(\S+): *(\d+)-block", row):
            line, inside = int(match[2]), match[1].startswith("$")
        elif re.match(r" *\S+: *\d+:", row):
            inside = False
        elif inside and row.startswith("branch") and file.startswith(WANTED):
            found[file, line] += 1
    return found


def gcov(notes: Path, *options: str) -> str:
    return subprocess.run(["gcov", "-b", "-t", *options, str(notes)], capture_output=True,
                          text=True, check=True).stdout


def read(build: Path) -> dict[str, dict[int, tuple[int, int]]]:
    """By file and line: how many branches were taken, and how many there are."""
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    cleanup: dict[tuple[str, int], int] = {}
    own = sorted(build.rglob("penstock_state.dir/**/*.gcno"))  # those that nothing ran, too
    data = own + [path for path in sorted(build.rglob("*.gcda"))
                  if path.with_suffix(".gcno") not in own]
    with ThreadPoolExecutor(2) as pool:
        for document in pool.map(lambda path: gcov(path, "--json-format"), data):
            for row in document.splitlines():
                for file in json.loads(row)["files"] if row.startswith("{") else []:
                    if not file["file"].startswith(WANTED):
                        continue
                    for line in file["lines"]:
                        counts = decisions(line["branches"])
                        name = line.get("function_name", "")
                        if name == "":
                            counts = folded(counts, file["functions"], line["line_number"])
                        before = found[file["file"]][line["line_number"]][name]
                        found[file["file"]][line["line_number"]][name] = (
                            [a + b for a, b in zip(before, counts)]
                            if len(before) == len(counts) else before or counts)
        for text in pool.map(lambda path: gcov(path, "-a"), own):
            for place, count in unwinding(text).items():
                cleanup[place] = max(count, cleanup.get(place, 0))
    result: dict[str, dict[int, tuple[int, int]]] = {}
    for file, lines in found.items():
        source = Path(file).read_text().splitlines()
        caught = handlers(source)
        result[file] = {}
        for number, functions in lines.items():
            if re.fullmatch(r"[\s{}();,]*(//.*)?", source[number - 1]):
                continue
            counts = merged(functions)
            taken, total = sum(count > 0 for count in counts), len(counts)
            if number not in caught:
                total = max(taken, total - cleanup.get((file, number), 0))
            result[file][number] = (taken, total)
    return result


def percent(taken: int, total: int) -> str:
    """Rounded down: what is below the target must not look as if it had met it."""
    return f"{taken * 1000 // total / 10:.1f} %" if total else "-"


def tell(files: dict[str, dict[int, tuple[int, int]]], uncovered: bool) -> int:
    all_taken = all_total = 0
    for file, lines in sorted(files.items()):
        taken = sum(line[0] for line in lines.values())
        total = sum(line[1] for line in lines.values())
        all_taken, all_total = all_taken + taken, all_total + total
        name = file.removeprefix(f"{ROOT}/")
        print(f"{name:<52} {taken:>5} of {total:>5} {percent(taken, total):>8}")
        source = Path(file).read_text().splitlines() if uncovered else []
        for number, (some, every) in sorted(lines.items()) if uncovered else []:
            if some < every:
                print(f"  {number}: {every - some} of {every} not: {source[number - 1].strip()}")
    print(f"row 19: {percent(all_taken, all_total)} of the branches of state/, "
          f"{all_taken} of {all_total}; asked for: {TARGET} %")
    return 0 if all_total and all_taken * 100 >= TARGET * all_total else 1


if __name__ == "__main__":
    arguments = sys.argv[1:]
    named = "--uncovered" in arguments
    if len(arguments) != 1 + named:
        sys.exit(__doc__)
    sys.exit(tell(read(Path(arguments[-1])), named))
