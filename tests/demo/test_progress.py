"""What a terminal shows, and what a file that takes the output."""

import re

from demo.running import demo, in_a_terminal


def test_plain_output_has_lines_and_a_table_and_no_escape_codes(tree):
    done = demo(tree, "--seconds", "1.5")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert re.search(r"^ +1\.\d s +\d+/\d+ jobs, .* read \d+/\d+, ", done.stdout, re.MULTILINE)
    assert re.search(r"^parse_source +cpu +0 +20 ", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 200


def test_a_terminal_shows_bars_that_are_drawn_again(tree):
    code, written = in_a_terminal(tree, "--seconds", "0")
    assert code == 0, written
    assert "━" in written
    assert re.search(r"\x1b\[\d*A", written), "the cursor never went up to draw again"
    assert re.search(r"of 2 running", written)
    assert "\x1b[?25h" in written, "the cursor was not shown again"
    assert "parse_source" in written


def test_no_color_is_respected_in_a_terminal(tree):
    _, coloured = in_a_terminal(tree, "--seconds", "0", "--files", "5")
    _, plain = in_a_terminal(tree, "--seconds", "0", "--files", "5", NO_COLOR="1")
    colour = re.compile(r"\x1b\[[\d;]*\b3[0-7]\b[\d;]*m|\x1b\[[\d;]*38;")
    assert colour.search(coloured)
    assert not colour.search(plain)


def test_a_terminal_keeps_its_cursor_when_the_run_may_be_killed(tree, tmp_path):
    _, written = in_a_terminal(tree, "--seconds", "0", "--files", "5", "--keep", tmp_path / "jobs.db")
    assert written.rindex("\x1b[?25l") < written.index("\x1b[?25h") < written.index("━")
