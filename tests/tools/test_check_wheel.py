"""`tools/check_wheel.py`: no wheel has the places where tests make a process die."""

import sys
import zipfile
from pathlib import Path

import pytest

from zjobs import _engine

# Behind: some tools have the names of packages of tests.
sys.path.append(str(Path(__file__).parents[2] / "tools"))
import check_wheel


def wheel_of(folder, module):
    path = folder / "zjobs-0-cp311-abi3-linux.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("zjobs/__init__.py", "")
        if module is not None:
            archive.writestr("zjobs/_engine.so", module)
    return str(path)


def test_it_knows_every_name_that_the_engine_has():
    assert set(_engine._failpoints()) < set(check_wheel.forbidden())


def test_a_wheel_that_is_built_for_tests_is_refused(tmp_path, capsys):
    module = Path(_engine.__file__).read_bytes()
    assert set(check_wheel.found(module)) == set(check_wheel.forbidden()), "each word would be found"
    assert check_wheel.main([wheel_of(tmp_path, module)]) == 1
    assert "built with the feature" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["claim.sent", "acker.flush", "ZJOBS_FAILPOINTS", "no failpoint is named "])
def test_one_word_is_enough(tmp_path, word):
    assert check_wheel.main([wheel_of(tmp_path, b"\x7fELF ..." + word.encode() + b"...")]) == 1


def test_a_wheel_without_them_passes(tmp_path):
    assert check_wheel.main([wheel_of(tmp_path, b"\x7fELF claim enqueue heartbeat rust/src/failpoint.rs")]) == 0


def test_nothing_to_look_at_is_no_success(tmp_path):
    assert check_wheel.main([]) == 1
    assert check_wheel.main([wheel_of(tmp_path, None)]) == 1
