"""URLs of stores: read or refused, and what may be a password is never repeated."""

from pathlib import PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import assert_shown, short
from zjobs import db
from zjobs.errors import Invalid

SECRET = "s3cr3t-Pa55"  # noqa: S105 - what the messages are searched for
PIECE = st.one_of(st.text(max_size=10), st.text(st.sampled_from("/:?@=&%#.+*sqlite\0\n"), max_size=12))
SCHEME = st.one_of(
    st.sampled_from(["sqlite://", "SQLite://", "postgres://", "postgresql+psycopg://", "memory://", "mysql://"]), PIECE
)
OPTIONS = ["?synchronous=full", "?mode=ro", "?schema=x", "?schema=%2F", "?mode=rw&x", "?", ""]


@short(600)
@given(SCHEME, PIECE, PIECE, st.sampled_from(OPTIONS))
@example("sqlite://", "/", "", "")
@example("mysql://", "u:", "@h/d", "")
@example("postgresql://", "u:a?", "@h/d", "?schema=a&schema=b")
def test_a_url_is_read_or_refused_without_its_secret(scheme, before, after, options):
    url = f"{scheme}{before}{SECRET}{after}{options}"
    hidden = not url.lower().startswith("sqlite:")
    try:
        name, rest = db._split("store", url)
        if name == "sqlite":
            file = db._file("store", rest)
            assert file.path
            assert not file.path.startswith(":memory:")
            assert PurePosixPath(file.path).name
        elif name == "postgresql":
            server = db._server(rest)
            assert server.url.startswith("postgresql://")
    except Invalid as error:
        assert_shown(str(error))
        told = SECRET in str(error)
    else:
        told = False
    assert not (hidden and told)
