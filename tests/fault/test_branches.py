# SPDX-License-Identifier: Apache-2.0
"""Row 19 counts branches, names those that nothing took, and fails below its target."""

import branches
import scoreboard


def branch(count, throw=False, fallthrough=False):
    return {"count": count, "throw": throw, "fallthrough": fallthrough}


def test_the_two_ways_out_of_a_call_that_may_throw_do_not_count():
    call = [branch(5, fallthrough=True), branch(0, throw=True)]
    decision = [branch(3, fallthrough=True), branch(2)]
    assert branches.decisions(call + decision + call) == [3, 2]
    assert branches.decisions(decision + list(reversed(call))) == [3, 2]
    assert branches.decisions(call + call) == []


def test_instantiations_of_a_template_are_one_and_other_functions_are_not():
    assert branches.merged({"f<int>": [1, 0], "f<bool>": [0, 2], "g": [0, 0, 7]}) == [
        1, 2, 0, 0, 7]


def test_instantiations_of_a_lambda_in_a_template_are_one():
    def function(first, column, last):
        return {"start_line": first, "start_column": column, "end_line": last}
    template = [function(1, 1, 9), function(3, 7, 5), function(3, 7, 5), function(20, 1, 30)]
    assert branches.folded([1, 0, 0, 2], template, 4) == [1, 2]
    assert branches.folded([1, 0, 0], template, 4) == [1, 0, 0]  # no two of the same
    assert branches.folded([1, 0, 0, 2], template, 8) == [1, 0, 0, 2]
    assert branches.folded([1, 0], [], 8) == [1, 0]


def test_the_lines_of_a_catch_are_known():
    source = "try {\n  a();\n} catch (const E&) {\n  if (b) {\n    c();\n  }\n}\nd();".splitlines()
    assert branches.handlers(source) == {3, 4, 5, 6, 7}
    assert branches.handlers(["} catch (...) {  // nothing", "}", "a();"]) == {1, 2}


def test_only_blocks_that_exceptions_alone_reach_are_left_out():
    source = branches.WANTED[0] + "some.cpp"
    text = f"""        -:    0:Source:{source}
        4:    7:  return a ? b : c;
        4:    7-block  0
branch  0 taken 50%
branch  1 taken 50% (fallthrough)
    $$$$$:    7-block  1
branch  2 never executed
branch  3 never executed
    %%%%%:    7-block  2
branch  4 never executed
    #####:    8:  d();
branch  0 never executed
"""
    assert branches.unwinding(text) == {(source, 7): 2}


def test_the_figure_is_one_of_the_scoreboard(tmp_path, capsys):
    source = tmp_path / "some.cpp"
    source.write_text("if (a) {\n  if (b) c();\n}\n")
    assert branches.tell({str(source): {1: (1, 2), 2: (0, 2)}}, uncovered=False) == 1
    said = capsys.readouterr().out
    assert "some.cpp" in said and "c();" not in said
    assert scoreboard.figures(said) == "25.0 % of the branches of state/, 1 of 4; asked for: 95.0 %"


def test_lines_with_branches_not_taken_are_named_on_demand(tmp_path, capsys):
    source = tmp_path / "some.cpp"
    source.write_text("if (a) {\n  if (b) c();\n}\n")
    branches.tell({str(source): {1: (2, 2), 2: (1, 3)}}, uncovered=True)
    said = capsys.readouterr().out
    assert "  2: 2 of 3 not: if (b) c();" in said
    assert "  1: " not in said


def test_the_target_is_met_from_95_percent_and_never_by_rounding(tmp_path, capsys):
    assert branches.tell({str(tmp_path / "x"): {1: (95, 100)}}, False) == 0
    assert branches.tell({str(tmp_path / "x"): {1: (9499, 10000)}}, False) == 1
    assert "94.9 %" in capsys.readouterr().out


def test_a_build_that_nothing_ran_in_fails(tmp_path):
    assert branches.tell(branches.read(tmp_path), False) == 1
