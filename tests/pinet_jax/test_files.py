import errno
import os
import subprocess
import sys

import pytest

from pinet_jax.errors import InputError
from pinet_jax.files import only_one, replaced_whole, write_whole, writing
from tests.conftest import ROOT


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_whole(path, "fünf")
    assert path.read_bytes() == "fünf".encode()
    with replaced_whole(path) as partial:
        assert partial.parent == path.parent
        partial.write_bytes(b"second")
        assert path.read_bytes() == "fünf".encode()
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), InputError),
        (ValueError("no such thing"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, error, raised):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(raised), replaced_whole(path) as partial:
        partial.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_write_left_is_no_obstacle(tmp_path):
    (tmp_path / "a.txt.partial").write_text("half")
    write_whole(tmp_path / "a.txt", "whole")
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("obstacle", ["/dev/full", "folder", "parent"])
def test_what_the_system_refuses_is_one_line(tmp_path, obstacle):
    path = tmp_path / "a.txt"
    if obstacle == "folder":
        path.mkdir()
    elif obstacle == "parent":
        path.touch()
        path = path / "b.txt"
    with pytest.raises(InputError) as error:
        if obstacle == "/dev/full":
            with writing(path), open(obstacle, "w") as file:
                file.write("x")
        else:
            write_whole(path, b"x")
    assert str(error.value).startswith(f"{path}: cannot be written (")
    assert "\n" not in str(error.value) and "None" not in str(error.value)
    assert os.listdir(tmp_path) in ([], ["a.txt"])


def test_a_lock_keeps_others_out_and_goes_with_a_crash(tmp_path):
    script = (
        "import os, sys; from pinet_jax.files import only_one\n"
        "with only_one(sys.argv[1], 'training'):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    call = [sys.executable, "-c", script, str(tmp_path / "run")]
    with subprocess.Popen(call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(InputError, match="run: another training is at work there"),
            only_one(tmp_path / "run", "training"),
        ):
            pass
        other.kill()
        other.wait()
    with only_one(tmp_path / "run", "training"), only_one(tmp_path / "run", "prepare"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="file/run: cannot be written"),
        only_one(tmp_path / "file" / "run", "training"),
    ):
        pass
