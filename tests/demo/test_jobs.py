"""The work that the demo does."""

from zjobs.demo import jobs


def test_a_source_that_does_not_parse_is_a_finding(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def (")
    assert jobs.parse_source(str(path))["broken"] == 1


def test_the_longest_function_is_found(tmp_path):
    path = tmp_path / "two.py"
    path.write_text("def short(): pass\n\ndef long():\n    pass\n    pass\n")
    census = jobs.parse_source(str(path))
    assert (census["longest_name"], census["longest_lines"]) == ("long", 3)
