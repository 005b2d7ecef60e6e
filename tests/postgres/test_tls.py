"""TLS: each `sslmode` means what it does in libpq."""

import contextlib
import shutil
import ssl
import subprocess

import pytest

import zjobs
from proxy import TlsProxy

SOON = 30


@pytest.fixture(scope="module")
def secure(server, tmp_path_factory):
    """The port of a server with a certificate for `localhost`, and the folder of the authority that signed it."""
    assert shutil.which("openssl"), "openssl makes the certificates of this test: install it"
    folder = tmp_path_factory.mktemp("tls")
    signed = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    make_certificate(folder, "ca", "/CN=authority")
    make_certificate(folder, "other", "/CN=stranger")
    make_certificate(folder, "server", "/CN=localhost", *signed, "-CA", "ca.crt", "-CAkey", "ca.key")
    make_certificate(folder, "client", "/CN=postgres", *signed, "-CA", "ca.crt", "-CAkey", "ca.key")
    with contextlib.closing(TlsProxy(server.port, folder / "server.crt", folder / "server.key")) as proxy:
        yield proxy.port, folder


def make_certificate(folder, name, subject, *more):
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", "-subj", subject, *files, *more]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("host", "options", "message"),
    [
        ("localhost", "sslmode=require", None),
        ("localhost", "sslmode=prefer", None),
        ("localhost", "sslmode=verify-ca&sslrootcert={0}/ca.crt", None),
        ("localhost", "sslmode=verify-full&sslrootcert={0}/ca.crt", None),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={0}/ca.crt", None),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={0}/ca.crt", "certificate"),
        ("localhost", "sslmode=verify-ca&sslrootcert={0}/other.crt", "certificate"),
        ("localhost", "sslmode=require&sslrootcert={0}/other.crt", "certificate"),
        ("localhost", "sslmode=verify-full&sslrootcert=system", "certificate"),
        ("localhost", "sslmode=disable", "pg_hba.conf"),
        ("localhost", "sslmode=verify-full", "sslrootcert must name the file"),
        ("localhost", "sslmode=verify-full&sslrootcert={0}/none.crt", "must be a PEM file"),
        ("localhost", "sslmode=verify-full&sslrootcert={0}/ca.key", "it holds no certificate"),
        ("localhost", "sslmode=require&sslcert={0}/client.crt", "must come together with sslkey"),
        ("localhost", "sslmode=require&sslcert={0}/client.crt&sslkey={0}/client.crt", "must be a PEM file"),
        ("localhost", "sslmode=require&sslcert={0}/client.key&sslkey={0}/client.key", "must be a PEM file"),
        ("localhost", "sslmode=disable&sslcert={0}/client.crt", "pg_hba.conf"),
        ("localhost", "sslmode=sometimes", "must be disable, allow, prefer"),
    ],
)
def test_each_sslmode_means_what_it_does_in_libpq(secure, monkeypatch, host, options, message):
    port, folder = secure
    monkeypatch.setenv("HOME", str(folder / "nowhere"))
    url = f"postgresql://postgres@{host}:{port}/postgres?{options.format(folder)}"
    if message is None:
        assert zjobs.Supervisor(url).enqueue("w").id
    else:
        with pytest.raises((zjobs.StoreUnavailable, zjobs.Invalid), match=message):
            zjobs.Supervisor(url)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_asks_who_calls_is_shown_the_certificate(server, secure, monkeypatch, newest):
    folder = secure[1]
    home = folder / f"home of {newest.name}"
    monkeypatch.setenv("HOME", str(home))
    exacting = TlsProxy(server.port, folder / "server.crt", folder / "server.key", folder / "ca.crt", newest)
    with contextlib.closing(exacting) as proxy:
        url = f"postgresql://postgres@localhost:{proxy.port}/postgres?sslmode=require&connect_timeout=5"
        with pytest.raises(zjobs.StoreUnavailable):
            zjobs.Supervisor(url)
        assert zjobs.Supervisor(f"{url}&sslcert={folder}/client.crt&sslkey={folder}/client.key").enqueue("w").id
        # Where libpq looks for them, too.
        (home / ".postgresql").mkdir(parents=True)
        shutil.copy(folder / "client.crt", home / ".postgresql" / "postgresql.crt")
        shutil.copy(folder / "client.key", home / ".postgresql" / "postgresql.key")
        assert zjobs.Supervisor(url).enqueue("w").id
