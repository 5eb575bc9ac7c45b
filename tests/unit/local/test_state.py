"""The state directory and its lock."""

import os
import tempfile
from pathlib import Path

import pytest

from local.errors import ClusterError, describe
from local.keys import ensure_signing_key, install_policy
from local.state import Lock, StateDir, holder, write_file


def test_one_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    first, second = Lock(state.lock), Lock(state.lock)
    assert holder(state) is None
    assert first.acquire()
    assert not second.acquire()
    assert holder(state) == os.getpid()
    first.release()
    assert holder(state) is None
    assert second.acquire()
    second.release()


def test_nobody_holds_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert holder(StateDir(tmp_path / "none")) is None


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ClusterError, match=r"state directory cannot be used: .*state"):
        StateDir(tmp_path / "state").prepare()


def test_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    short, long = StateDir(Path("/tmp/s")), StateDir(tmp_path / ("x" * 120))
    assert short.socket == Path("/tmp/s/control.sock")
    assert len(os.fsencode(long.socket)) < 104
    assert long.socket.is_relative_to(tempfile.gettempdir())
    assert long.socket != StateDir(tmp_path / ("y" * 120)).socket


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="directory"):
        write_file(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["policy.toml"]


def test_an_error_of_the_system_is_one_line() -> None:
    assert describe(OSError(28, "No space left on device", "/x/y")) == "No space left on device: /x/y"


def test_the_signing_key_is_made_once(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    path = ensure_signing_key(state)
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_signing_key(state) == path


def test_every_start_installs_the_policy_of_this_version(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.policy.write_text("old")
    install_policy(state)
    assert "[[allow]]" in state.policy.read_text()
