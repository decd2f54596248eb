#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks of the house's style that a machine can make.

usage: tidy.py ROOT [--compile-commands FILE]

Prints one line per finding, `file:line: what is wrong; what to do instead`, and exits 1 if there
are any. Each rule is one function that takes the tree and yields findings; test_tidy.py breaks
each once.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

CODE = (".cpp", ".h")
SCRIPTED = (".py", ".cmake", ".txt", ".in")
LINE_MAX = 100

# C++ and C library headers have no folder and no extension, but for these.
STANDARD_WITH_EXTENSION = re.compile(r"^(std[a-z]+|sys/types)\.h$")

# State's file seam: the only sources that may open files themselves.
FILE_HOME = ("state/src/posix_file_system.cpp", "state/src/posix_file_system.h")


# Who may include a library: what stands behind a seam of ours has one home.
HOMES = {
    "librdkafka/": ("sdk/src/kafka/", "tests/", "bench/"),
    "CLI/": ("sdk/command/", "samples/", "tests/", "bench/"),
    "spdlog/": ("sdk/src/log.cpp",),
    "nlohmann/": ("state/src/value_json.cpp", "sdk/src/log.cpp", "sdk/command/", "tests/"),
    "xxhash.h": ("state/src/", "tests/", "bench/"),
    "zstd.h": ("state/src/", "tests/"),
    "rocksdb/": ("state/src/database.cpp", "bench/"),
    "SQLiteCpp/": ("state/src/datastore/sqlite_", "bench/"),
    "sqlite3.h": ("state/src/datastore/sqlite_", "tests/", "bench/"),
    "pqxx/": ("state/src/datastore/postgresql_", "tests/", "bench/"),
}

# Functions whose names a library asks for: cereal, nlohmann-json, RocksDB.
LIBRARY_NAMES = re.compile(r"CEREAL_\w+|(start|end)_\w+|number_\w+|parse_error|Name|Filter|Logv")

# The fragment identifiers that GitHub gives headings: words in lower case, joined by dashes.
NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Finding:
    """One violation. `text` names the replacement."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def walk(root: Path) -> Iterator[str]:
    """Files that belong to the repository: those that git tracks or, in a copy without git, all but
    build trees and hidden folders."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True) \
        if (root / ".git").exists() and shutil.which("git") else None  # fmt: skip
    if listed and listed.stdout:
        yield from listed.stdout.decode().rstrip("\0").split("\0")
        return
    for directory, names, files in os.walk(root):
        relative = Path(directory).relative_to(root)
        names[:] = [
            name
            for name in names
            if name == ".ci"
            or not (name.startswith(".") or name in ("__pycache__", "_skbuild"))
            and not name.endswith(".egg-info")
            and (relative.parts or name not in ("build", "dist"))
        ]
        yield from ((relative / name).as_posix() for name in files)


class Tree:
    """The repository's text files by path relative to its root."""

    def __init__(self, root: Path, compiled: set[str] | None = None):
        self.root = root
        self.compiled = compiled  # sources in some target; None when not asked for
        self.files: dict[str, list[str]] = {}
        for path in walk(root):
            try:
                self.files[path] = (root / path).read_text(encoding="utf-8").splitlines()
            except (UnicodeDecodeError, OSError):
                continue  # golden files and the like; deleted, and git not told
        tops = {path.split("/")[0] for path in self.files if "/" in path}
        self.folders = sorted(name for name in tops if not name.startswith("."))

    def under(
        self, *prefixes: str, ends: tuple[str, ...] = CODE
    ) -> Iterator[tuple[str, list[str]]]:
        for path, lines in sorted(self.files.items()):
            if path.endswith(ends) and (not prefixes or path.startswith(prefixes)):
                yield path, lines

    def scripts(self) -> Iterator[tuple[str, list[str]]]:
        """Shell scripts, with an extension or without."""
        for path, lines in sorted(self.files.items()):
            if lines and re.match(r"#!.*sh\b", lines[0]):
                yield path, lines

    def search(
        self, pattern: str, *prefixes: str, ends: tuple[str, ...] = CODE
    ) -> Iterator[tuple[str, int, re.Match[str]]]:
        """Matches of `pattern` in code; `//` comments are not code."""
        expression = re.compile(pattern)
        for path, lines in self.under(*prefixes, ends=ends):
            for number, line in enumerate(lines, 1):
                if match := expression.search(line.split("//")[0]):
                    yield path, number, match


Rule = Callable[[Tree], Iterator[Finding]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


@rule
def sources_are_built(tree: Tree) -> Iterator[Finding]:
    if tree.compiled is None:
        return
    for path, _ in tree.under("state/", "sdk/", "samples/", "tests/", "bench/", ends=(".cpp",)):
        if path.startswith("tests/consumer/") or path.endswith("_fuzz.cpp"):
            continue  # a project of its own, built by the consumer test; scripts/fuzz's
        if path.endswith("_absent.cpp") or path.replace(".cpp", "_absent.cpp") in tree.files:
            continue  # one of the two: with or without a library
        left_out = any(
            path.startswith(folder) and not any(one.startswith(folder) for one in tree.compiled)
            for folder in ("bench/", "tests/fault/block_log/")  # no Google Benchmark; no libfuse3
        )
        if left_out:
            continue
        if path not in tree.compiled:
            yield Finding(path, 1, "is in no target; see the globs in its folder's CMakeLists.txt")


@rule
def public_headers_include_the_standard_library_only(tree: Tree) -> Iterator[Finding]:
    include = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)')
    for path, lines in tree.under("state/include/", "sdk/include/"):
        for number, line in enumerate(lines, 1):
            if not (match := include.match(line)):
                continue
            quote, name = match.groups()
            if name.startswith("penstock/"):
                continue
            if name.startswith("cereal/") and "cereal" in path.rsplit("/", 1)[-1]:
                continue
            if name.startswith("boost/unordered/") and "/detail/" in path:
                continue
            standard = STANDARD_WITH_EXTENSION.match(name) or not re.search(r"[/.]", name)
            if quote == '"' or not standard:
                yield Finding(
                    path, number, f"public header includes {name}; include it in src/ instead"
                )


@rule
def files_are_opened_by_the_seam(tree: Tree) -> Iterator[Finding]:
    pattern = r"\b[io]?fstream\b|\bfreopen\b|\bfopen\b|(?<![\w>.:])::open(at)?\s*\(|<fcntl\.h>"
    for path, number, match in tree.search(pattern, "state/", "sdk/"):
        if path not in FILE_HOME:
            yield Finding(
                path, number, f"{match.group().strip()} outside {FILE_HOME[0]}; use FileSystem"
            )


@rule
def arrows_point_one_way(tree: Tree) -> Iterator[Finding]:
    for path, number, match in tree.search(r'#\s*include\s*[<"](penstock/[^>"]+)', "state/"):
        header = match.group(1)
        if f"state/include/{header}" not in tree.files:
            yield Finding(path, number, f"state includes {header}; state knows nothing of sdk")
    for path, number, match in tree.search(r'#\s*include\s*"([^"]*)"', "sdk/", "samples/"):
        name = match.group(1)
        if name.startswith(("state/", "../")) or f"state/src/{name}" in tree.files:
            if f"sdk/src/{name}" not in tree.files:
                yield Finding(
                    path, number, f"{name} lies behind state's seam; use <penstock/state/...>"
                )


@rule
def topics_know_no_streams(tree: Tree) -> Iterator[Finding]:
    pattern = r'#\s*include\s*"(streams/[^"]*)"'
    homes = ("sdk/src/topics/", "sdk/src/file/", "sdk/src/kafka/")
    for path, number, match in tree.search(pattern, *homes):
        yield Finding(path, number, f"topics include {match.group(1)}; streams stand on topics")


@rule
def libraries_stay_in_their_homes(tree: Tree) -> Iterator[Finding]:
    include = r"#\s*include\s*<(" + "|".join(map(re.escape, HOMES)) + ")"
    for path, number, match in tree.search(include):
        homes = HOMES[match.group(1)]
        if not path.startswith(homes):
            yield Finding(path, number, f"{match.group(1)} outside {', '.join(homes)}")


@rule
def scripts_need_no_dev_fd(tree: Tree) -> Iterator[Finding]:
    """`<( )` opens /dev/fd/N, which a bare chroot may lack."""
    for path, lines in tree.scripts():
        for number, line in enumerate(lines, 1):
            if re.search(r"[<>]\(", re.sub(r"(^|\s)#.*", "", line)):
                yield Finding(path, number, 'process substitution; use <<<"$(...)" or a pipe')


@rule
def advice_names_commands_that_exist(tree: Tree) -> Iterator[Finding]:
    """`penstock WORD WORD` in backticks, in pages, comments and messages."""
    known = re.compile(r'(?:add_subcommand\(|subcommand\(topics, arguments, *)\s*"(\w+)"')
    source = "\n".join(
        line for _, lines in tree.under("sdk/command/", ends=(".cpp",)) for line in lines
    )
    commands = set(known.findall(source))
    for path, lines in tree.under(ends=CODE + (".md", ".py", ".pyi")):
        if path.startswith("tests/tidy/"):
            continue
        for number, line in enumerate(lines, 1):
            for words in re.findall(r"`penstock ([a-z]+) ([a-z]+)", line):
                if not commands.issuperset(words):
                    yield Finding(path, number, f"no command `penstock {' '.join(words)}`")


@rule
def links_lead_somewhere(tree: Tree) -> Iterator[Finding]:
    """Of README and docs: to files and folders of the repository, and to headings."""
    for path, lines in tree.under("README.md", "docs/", ends=(".md",)):
        for number, line in enumerate(lines, 1):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if re.match(r"[a-z]+:", target):
                    continue
                name, _, anchor = target.partition("#")
                place = os.path.normpath(f"{os.path.dirname(path) or '.'}/{name}") if name else path
                folder = any(one.startswith(place + "/") for one in tree.files)
                if place not in tree.files and not folder:
                    yield Finding(path, number, f"{target} is not there")
                elif anchor and anchor not in {
                    NOT_IN_ANCHORS.sub("", heading.lstrip("# ").lower()).replace(" ", "-")
                    for heading in tree.files.get(place, [])
                    if heading.startswith("#")
                }:
                    yield Finding(path, number, f"{target}: no such heading")


@rule
def public_types_are_documented(tree: Tree) -> Iterator[Finding]:
    definition = re.compile(r"^(?:class|struct|enum class|enum struct|enum) (\w+)[^;]*$")
    space = re.compile(r"^namespace ([\w:]*)")
    for path, lines in tree.under("state/include/", "sdk/include/"):
        private = False
        for number, line in enumerate(lines, 1):
            if match := space.match(line):
                private = "detail" in match.group(1)
            elif re.match(r"^\}  // namespace \S*detail", line):
                private = False
            if private or "/detail/" in path or not (match := definition.match(line)):
                continue
            above = number - 2
            while above >= 0 and re.match(r"^(template|requires|    requires|\[\[)", lines[above]):
                above -= 1
            if above < 0 or not lines[above].startswith("///"):
                yield Finding(
                    path, number, f"{match.group(1)} has no /// comment directly above it"
                )


@rule
def persisted_enums_have_values(tree: Tree) -> Iterator[Finding]:
    """An enum that names some values, or says that it must not be renumbered, names them all."""
    head = re.compile(r"^\s*enum (?:class |struct )?(\w+)[^;{]*\{")
    for path, lines in tree.under("state/", "sdk/"):
        for number, line in enumerate(lines, 1):
            if not (match := head.match(line)):
                continue
            comment, above = "", number - 2
            while above >= 0 and lines[above].lstrip().startswith("//"):
                comment = lines[above] + comment
                above -= 1
            body, index = line[match.end() :], number
            while "}" not in body.split("//")[0].rsplit("\n", 1)[-1] and index < len(lines):
                body += "\n" + lines[index].split("//")[0]
                index += 1
            items = [item.strip() for item in body.split("}")[0].split(",") if item.strip()]
            valued = sum("=" in item for item in items)
            persisted = re.search(r"renumber", comment, re.I)
            if valued < len(items) and (valued or persisted):
                yield Finding(
                    path, number, f"give all of {match.group(1)} values: it is stored"
                )


@rule
def lines_are_short(tree: Tree) -> Iterator[Finding]:
    for path, lines in sorted((*tree.under(ends=CODE + SCRIPTED), *tree.scripts())):
        if path == "LICENSE" or (path.endswith(".txt") and not path.endswith("CMakeLists.txt")):
            continue
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_MAX:
                yield Finding(path, number, f"{len(line)} columns; break it at {LINE_MAX}")


@rule
def nothing_is_left_for_later(tree: Tree) -> Iterator[Finding]:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path, lines in sorted(tree.files.items()):
        if path.startswith(("tests/tidy/", "build/")):
            continue
        for number, line in enumerate(lines, 1):
            if match := words.search(line):
                yield Finding(path, number, f"{match.group()}; finish it or take it out")


@rule
def presets_hold_no_absolute_paths(tree: Tree) -> Iterator[Finding]:
    for number, line in enumerate(tree.files.get("CMakePresets.json", []), 1):
        if re.search(r'(["=:; ]|-[A-Z])([A-Za-z]:[\\/]|/)[\w.]', line):
            yield Finding("CMakePresets.json", number, "absolute path; use ${sourceDir}")


@rule
def licence_stands_first(tree: Tree) -> Iterator[Finding]:
    ends = (".cpp", ".h", ".py", ".cmake", "CMakeLists.txt")
    for path, lines in sorted((*tree.under(ends=ends), *tree.scripts())):
        if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2]):
            yield Finding(path, 1, "first line must be SPDX-License-Identifier: Apache-2.0")


@rule
def headers_guard_themselves(tree: Tree) -> Iterator[Finding]:
    for path, lines in tree.under(ends=(".h",)):
        if "#pragma once" not in lines[:5]:
            yield Finding(path, 1, "header without #pragma once below its licence line")


@rule
def files_are_named_in_snake_case(tree: Tree) -> Iterator[Finding]:
    for path, _ in tree.under():
        if not re.fullmatch(r"[a-z0-9_]+\.(cpp|h)", path.rsplit("/", 1)[-1]):
            yield Finding(path, 1, "file names are snake_case")


@rule
def types_are_named_in_pascal_case(tree: Tree) -> Iterator[Finding]:
    for path, number, match in tree.search(
        r"^\s*(?:class|struct|enum class|enum)\s+(\w+)\s*(?:final\s*)?(?::[^:;].*)?\{\s*$",
        "state/", "sdk/", "samples/", "bench/",
    ):  # fmt: skip
        name = match.group(1)
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name) and name not in ("hash", "formatter"):
            yield Finding(path, number, f"type {name} is not in PascalCase")


@rule
def functions_are_named_in_lower_camel_case(tree: Tree) -> Iterator[Finding]:
    """A variable with arguments looks the same, and is named the same. A conversion is named after
    its type."""
    words = "explicit|return|throw|else|delete|new|extern|case|const std::string_view|co_[a-z]+"
    others = rf"\s|[\w:]*\boperator\b|(?:{words})\b"
    pattern = rf"^\s*(?!{others})(?:[A-Za-z_][\w:]*(?:<[^()]*>)?[&*]*\s+[&*]*)+(\w+)\("
    for path, number, match in tree.search(
        pattern, "state/", "sdk/", "samples/", "bench/", "bindings/"
    ):
        name = match.group(1)
        if not re.fullmatch(r"[a-z][A-Za-z0-9]*_?", name) and not LIBRARY_NAMES.fullmatch(name):
            yield Finding(path, number, f"function {name} is not in lowerCamelCase")


@rule
def private_members_end_in_an_underscore(tree: Tree) -> Iterator[Finding]:
    label = re.compile(r"^ *(public|protected|private):$")
    words = "using|friend|return|typedef|static|enum|class|struct"
    member = re.compile(
        rf"^ *(?! |(?:{words})\b)[\w:<>,&* ()\[\]]+[\w>&*\]] [&*]?(\w+)"
        r"(?: = .*|\{.*\}|\[\w+\])?;$"
    )
    for path, lines in tree.under("state/", "sdk/", "samples/", "bench/", "bindings/"):
        open_sections: list[int] = []  # indents of the private ones
        for number, line in enumerate(lines, 1):
            indent = len(line) - len(line.lstrip())
            if match := label.match(line):
                open_sections = [one for one in open_sections if one < indent]
                if match.group(1) == "private":
                    open_sections.append(indent)
            elif line.lstrip().startswith("}"):
                open_sections = [one for one in open_sections if one <= indent]
            elif open_sections and indent == open_sections[-1] + 1:
                code = line.split("//")[0].rstrip()
                found = member.match(code)
                if found and found[0].count("(", 0, found.start(1)) != found[0].count(
                    ")", 0, found.start(1)
                ):
                    continue  # a parameter
                if found and not re.fullmatch(r"\w+_|noexcept|const|override|default", found[1]):
                    yield Finding(path, number, f"private member {found[1]} ends without _")


@rule
def tests_can_fail(tree: Tree) -> Iterator[Finding]:
    pattern = r"\bDISABLED_\w*|\bGTEST_SKIP\b|\b(EXPECT|ASSERT)_TRUE\(true\)"
    for path, number, match in tree.search(pattern, "tests/"):
        yield Finding(path, number, f"{match.group()}; mend the test or take it away")
    pattern = r"pytest\.(skip|mark\.skip|mark\.xfail|importorskip)|\bassert True\b"
    for path, number, match in tree.search(pattern, "tests/", ends=(".py",)):
        if not path.startswith("tests/tidy/"):
            yield Finding(path, number, f"{match.group()}; mend the test or take it away")


@rule
def tests_are_named_without_underscores(tree: Tree) -> Iterator[Finding]:
    pattern = r"^(?:TYPED_)?TEST(?:_F|_P)?\((\w+), (\w+)\)"
    for path, number, match in tree.search(pattern, "tests/"):
        if "_" in match.group(1) + match.group(2):
            yield Finding(path, number, "GoogleTest names have no underscores")


@rule
def tests_wait_for_conditions(tree: Tree) -> Iterator[Finding]:
    """A bounded wait has to pause somewhere: in tests/support, which alone may sleep."""
    pattern = r"\bsleep_(for|until)\b|\b[un]?sleep\s*\(|\btime\.sleep\b"
    for path, number, match in tree.search(pattern, "tests/", ends=CODE + (".py",)):
        if not path.startswith(("tests/support/", "tests/tidy/")):
            yield Finding(path, number, f"{match.group()}; wait for a condition (tests/support)")


@rule
def libraries_do_not_print(tree: Tree) -> Iterator[Finding]:
    pattern = r"\bstd::c(out|err|log)\b|\bf?printf\s*\(|\bputs\s*\(|\b(std::)?(abort|terminate)\(\)"
    for path, number, match in tree.search(pattern, "state/src/", "state/include/", "sdk/include/",
                                           "sdk/src/"):  # fmt: skip
        yield Finding(path, number, f"{match.group()} in a library; return or throw instead")


@rule
def readme_maps_the_folders(tree: Tree) -> Iterator[Finding]:
    lines = tree.files.get("README.md")
    if lines is None:
        yield Finding("README.md", 1, "missing; it maps the folders")
        return
    mapped = {}
    for number, line in enumerate(lines, 1):
        # a line of the map: `folder/` at its beginning, bare or in a list or table
        if match := re.match(r"^(?:[-*|] *)?`?([a-z_]+)/`?(?:\s|$|\|)", line):
            mapped.setdefault(match.group(1), number)
    for folder in tree.folders:
        if folder not in mapped:
            yield Finding("README.md", 1, f"the map of folders does not name {folder}/")
    for folder, number in mapped.items():
        if folder not in tree.folders:
            yield Finding("README.md", number, f"the map names {folder}/, which does not exist")


def compiled_sources(compile_commands: Path, root: Path) -> set[str]:
    """The sources that some target compiles, relative to root."""
    files = (Path(entry["file"]) for entry in json.loads(compile_commands.read_text()))
    return {file.relative_to(root).as_posix() for file in files if file.is_relative_to(root)}


def check(tree: Tree) -> list[Finding]:
    return [finding for one in RULES for finding in one(tree)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--compile-commands", type=Path)
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    compiled = None
    if arguments.compile_commands:
        compiled = compiled_sources(arguments.compile_commands, root)
    findings = check(Tree(root, compiled))
    for finding in findings:
        print(finding)
    print(f"tidy: {len(RULES)} rules, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
