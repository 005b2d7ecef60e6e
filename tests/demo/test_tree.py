"""The files that are worked through."""

import os
from pathlib import Path

import pytest

from demo.running import demo
from zjobs.demo.tree import MOST_BYTES, EmptyTreeError, survey


@pytest.mark.parametrize("make", [lambda _: None, Path.mkdir], ids=["missing", "empty"])
def test_a_path_without_files_is_wrong_usage(tmp_path, make):
    path = tmp_path / "nothing"
    make(path)
    done = demo(path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "PATH" in done.stderr
    assert "must" in done.stderr


def test_a_survey_takes_files_evenly_and_leaves_out_what_it_cannot_use(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text("x")
    (tmp_path / "huge.bin").write_bytes(b"\0" * (MOST_BYTES + 1))
    (tmp_path / "link.txt").symlink_to(tmp_path / "0.txt")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "0.pyc").write_text("x")
    tree = survey(tmp_path, most_files=5)
    assert [Path(path).name for path in tree.files] == ["0.txt", "2.txt", "4.txt", "6.txt", "8.txt"]
    assert (tree.found, tree.left_out) == (10, 3)


def test_a_survey_of_one_file_is_that_file(tmp_path):
    (tmp_path / "one.txt").write_text("x")
    assert survey(tmp_path / "one.txt", most_files=5).files == (str((tmp_path / "one.txt").resolve()),)


def test_a_survey_of_nothing_says_what_to_do(tmp_path):
    with pytest.raises(EmptyTreeError, match=r"must be a folder that exists .*standard library"):
        survey(tmp_path / "missing", most_files=5)
