# SPDX-License-Identifier: Apache-2.0
"""Each rule of tidy.py against a tree that keeps it and one that breaks it."""

from pathlib import Path

import pytest
import tidy

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
SHELL = "#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache-2.0\n"
HEADER = SPDX + "#pragma once\n\n"
README = (
    "# Penstock\n\n- `state/` durable state\n- `sdk/` the client\n- `tests/` tests\n"
    "- `scripts/` scripts\n- `docs/` [a page](docs/page.md#one-heading)\n"
)

GOOD = {
    "README.md": README,
    "CMakePresets.json": '{ "binaryDir": "${sourceDir}/build/${presetName}" }\n',
    "state/include/penstock/error.h": HEADER
    + "#include <string>\n\n/// What went wrong.\nclass Error {\n};\n",
    "state/include/penstock/state/cereal.h": HEADER + "#include <cereal/cereal.hpp>\n",
    "state/include/penstock/detail/map.h": HEADER
    + "#include <boost/unordered/unordered_flat_map.hpp>\n",
    "state/src/posix_file_system.cpp": SPDX
    + '#include <fcntl.h>\nint f() { return ::open("x", 0); }\n',
    "docs/page.md": "# One `heading`\n\n[README](../README.md), `penstock topics list`\n",
    "scripts/run": SHELL + "true  # <( ) would need /dev/fd\n",
    "sdk/command/main.cpp": SPDX
    + 'app.add_subcommand("topics");\nsubcommand(topics, arguments, "list");\n',
    "sdk/src/run.cpp": SPDX + '#include "penstock/error.h"\n',
    "tests/state/error_test.cpp": SPDX + "TEST(Error, SaysWhat) {}\n",
}

# rule, file, text: added to the good tree, it must give exactly this rule's finding in this file
BROKEN = [
    ("public_headers_include", "sdk/include/penstock/a.h", HEADER + "#include <fmt/core.h>\n"),
    ("public_headers_include", "sdk/include/penstock/a.h", HEADER + "#include <boost/any.hpp>\n"),
    ("public_headers_include", "sdk/include/penstock/a.h", HEADER + "#include <unistd.h>\n"),
    ("files_are_opened", "sdk/src/a.cpp", SPDX + "#include <fstream>\n"),
    ("files_are_opened", "state/src/a.cpp", SPDX + 'auto f = ::open("x", 0);\n'),
    ("files_are_opened", "state/src/a.cpp", SPDX + 'auto f = fopen("x", "r");\n'),
    ("arrows_point", "state/src/a.cpp", SPDX + "#include <penstock/application.h>\n"),
    ("arrows_point", "sdk/src/a.cpp", SPDX + '#include "../../state/src/journal.h"\n'),
    ("topics_know", "sdk/src/topics/a.cpp", SPDX + '#include "streams/topology.h"\n'),
    ("topics_know", "sdk/src/kafka/a.h", HEADER + '#include "streams/topology.h"\n'),
    ("libraries_stay", "sdk/src/a.cpp", SPDX + "#include <librdkafka/rdkafka.h>\n"),
    ("libraries_stay", "sdk/src/a.cpp", SPDX + "#include <CLI/CLI.hpp>\n"),
    ("scripts_need", "scripts/a", SHELL + "mapfile -t names < <(ls)\n"),
    ("advice_names", "docs/a.md", "`penstock state verify`\n"),
    ("advice_names", "sdk/src/a.cpp", SPDX + 'auto advice = "`penstock topics mend`";\n'),
    ("links_lead", "docs/a.md", "[gone](gone.md)\n"),
    ("links_lead", "docs/a.md", "[gone](../README.md#gone)\n"),
    ("public_types", "sdk/include/penstock/a.h", HEADER + "class Bare {\n};\n"),
    ("public_types", "sdk/include/penstock/a.h", HEADER + "/// Far away.\n\nstruct Bare {\n};\n"),
    ("public_types", "sdk/include/penstock/a.h", HEADER + "template <int N>\nclass Bare {\n};\n"),
    ("persisted_enums", "state/src/a.cpp", SPDX + "enum class Kind { A = 1, B };\n"),
    ("persisted_enums", "state/src/a.cpp", SPDX + "// Never renumber.\nenum class K {\n  A\n};\n"),
    ("lines_are_short", "scripts/a", SHELL + "#" + "x" * 100 + "\n"),
    ("lines_are_short", "sdk/src/a.cpp", SPDX + "//" + "x" * 100 + "\n"),
    ("nothing_is_left", "docs.md", "TO" + "DO: write\n"),
    ("presets_hold", "CMakePresets.json", '{ "binaryDir": "/opt/build" }\n'),
    ("presets_hold", "CMakePresets.json", '{ "flags": "-I/opt/include" }\n'),
    ("licence_stands", "scripts/a", "#!/bin/sh\ntrue\n"),
    ("licence_stands", "sdk/src/a.cpp", "int a;\n"),
    ("headers_guard", "sdk/src/a.h", SPDX + "int a();\n"),
    ("files_are_named", "sdk/src/aB.cpp", SPDX),
    ("types_are_named", "sdk/src/a.cpp", SPDX + "struct lower_case {\n};\n"),
    ("functions_are", "sdk/src/a.cpp", SPDX + "int read_all(int from) {\n"),
    ("functions_are", "sdk/src/a.cpp", SPDX + "std::vector<int>& ReadAll();\n"),
    ("private_members", "sdk/src/a.cpp", SPDX + "class A {\n private:\n  int b = 0;\n};\n"),
    ("tests_can_fail", "tests/state/a_test.cpp", SPDX + "void f() { GTEST_SKIP(); }\n"),
    ("tests_can_fail", "tests/state/a_test.cpp", SPDX + "TEST(A, B) { EXPECT_TRUE(true); }\n"),
    ("tests_are_named", "tests/state/a_test.cpp", SPDX + "TEST(A, b_c) {}\n"),
    ("tests_wait", "tests/state/a_test.cpp", SPDX + "void f() { sleep(1); }\n"),
    ("libraries_do_not", "sdk/src/a.cpp", SPDX + 'void f() { std::cerr << "x"; }\n'),
    ("sources_are_built", "tests/state/lost.cpp", SPDX),
    ("readme_maps", "README.md", README + "- `gone/` nothing\n"),
    ("readme_maps", "README.md", README.replace("- `sdk/`", "- `src`")),
]


def plant(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def tree(root: Path) -> tidy.Tree:
    built = {"state/src/posix_file_system.cpp", "sdk/src/run.cpp", "tests/state/error_test.cpp"}
    built |= {"sdk/command/main.cpp", "sdk/src/topics/a.cpp"}
    built |= {"state/src/a.cpp", "sdk/src/a.cpp", "sdk/src/aB.cpp", "tests/state/a_test.cpp"}
    return tidy.Tree(root, built)


def test_a_tidy_tree_has_no_findings(tmp_path):
    plant(tmp_path, GOOD)
    assert tidy.check(tree(tmp_path)) == []


@pytest.mark.parametrize("name,path,text", BROKEN)
def test_a_broken_rule_is_found_and_only_that(tmp_path, name, path, text):
    plant(tmp_path, GOOD | {path: text})
    findings = {function.__name__: list(function(tree(tmp_path))) for function in tidy.RULES}
    broken = [rule for rule, found in findings.items() if found]
    assert len(broken) == 1 and broken[0].startswith(name), findings
    assert findings[broken[0]][0].path == path


def test_every_rule_is_broken_once():
    for function in tidy.RULES:
        assert any(function.__name__.startswith(name) for name, _, _ in BROKEN), function.__name__


def test_a_rule_does_not_read_comments(tmp_path):
    plant(tmp_path, GOOD | {"sdk/src/a.cpp": SPDX + "// fopen would pass by the seam\n"})
    assert tidy.check(tree(tmp_path)) == []
