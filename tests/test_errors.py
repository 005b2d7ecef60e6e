import pytest
from hypothesis import given
from hypothesis import strategies as st

from zjobs import errors
from zjobs.errors import Error, Invalid, NotFound, escaped, invalid, shown


def test_every_error_is_a_zjobs_error_and_two_are_also_python_s_own():
    kinds = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert all(issubclass(kind, Error) for kind in kinds)
    assert issubclass(Invalid, ValueError)
    assert issubclass(NotFound, LookupError)


def test_an_invalid_value_names_field_rule_and_value():
    error = invalid("queue", "must match [a-z0-9_.-]{1,64}", "mail;--")
    assert str(error) == "queue must match [a-z0-9_.-]{1,64} (got 'mail;--')"
    assert error.args == (str(error),)


def test_a_value_is_shortened_to_eighty_characters():
    assert shown("x" * 1000) == "'" + "x" * 79 + "…"
    assert len(shown(list(range(10_000)))) <= 81
    assert len(shown(b"x" * 10_000)) <= 81


def test_a_value_is_whole_as_long_as_it_fits():
    for value in ("x" * 78, b"x" * 77, 10**79):
        assert shown(value) == repr(value)
        assert len(shown(value)) == 80


@pytest.mark.parametrize("value", ["x" * 79, "x" * 80, "x" * 81, b"x" * 78, 10**80, 10**1000])
def test_of_a_longer_value_the_beginning_is_shown(value):
    assert shown(value) == repr(value)[:80] + "…"


def test_text_is_cut_only_when_it_is_longer_than_it_may_be():
    assert escaped("abc", 3) == "abc"
    assert escaped("abcd", 3) == "abc…"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", r"'a\nb'"),
        ("a\0b", r"'a\0b'"),
        ("\x1b[31m", r"'\u{1b}[31m'"),
        ("\u202egpj", r"'\u{202e}gpj'"),
        ("\ud800", r"'\u{d800}'"),
        ("o'clock é", "'o'clock é'"),
        (-1, "-1"),
        (None, "None"),
    ],
)
def test_control_characters_are_escaped_as_the_engine_does(value, text):
    assert shown(value) == text


def test_a_value_that_cannot_be_described_is_named_by_its_type():
    class Rude:
        def __repr__(self):
            raise RuntimeError

    assert "Rude" in shown(Rude())
    assert "int" in shown(10**5000) or shown(10**5000).startswith("1000")


@given(st.text(), st.integers(1, 100))
def test_escaped_text_is_one_printable_line(text, most):
    line = escaped(text, most)
    assert line.isprintable()
    assert line.endswith("…") or len(text) <= most
