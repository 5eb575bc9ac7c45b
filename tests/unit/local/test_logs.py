"""Log files: bounded by the cluster, read by `meshmart logs`."""

from pathlib import Path

from local.logs import last_lines, tail, trim
from local.state import StateDir
from meshmart.logs import Tail, find


def test_a_log_that_grew_too_long_is_moved_aside(tmp_path: Path) -> None:
    log = tmp_path / "product-1.log"
    log.write_bytes(b"x" * 200)
    assert trim(log, max_bytes=100)
    assert log.read_bytes() == b""
    assert (tmp_path / "product-1.log.1").read_bytes() == b"x" * 200


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "product-1.log"
    log.write_bytes(b"x" * 100)
    assert not trim(log, max_bytes=100)
    assert log.read_bytes() == b"x" * 100


def test_a_process_that_appends_goes_on_at_the_new_end(tmp_path: Path) -> None:
    log = tmp_path / "product-1.log"
    with log.open("ab", buffering=0) as f:
        f.write(b"x" * 200)
        trim(log, max_bytes=100)
        f.write(b"after\n")
    assert log.read_bytes() == b"after\n"


def test_the_last_lines_of_no_log_are_none(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log") == ""


def test_the_last_lines_are_the_last(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"{n}\n" for n in range(100)))
    assert last_lines(log, 3) == "97\n98\n99"


def test_following_a_log_reads_whole_lines_only(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("one\ntw")
    tail = Tail(log, -1)
    assert tail.read() == [b"one"]
    with log.open("a") as f:
        f.write("o\nthree\n")
    assert tail.read() == [b"two", b"three"]
    assert tail.read() == []


def test_following_a_log_goes_on_after_it_was_cut(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\n")
    tail = Tail(log, -1)
    tail.read()
    log.write_text("new\n")
    assert tail.read() == [b"new"]


def test_a_tail_limits_what_was_there_but_not_what_follows(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("1\n2\n3\n")
    tail = Tail(log, 1)
    assert tail.read() == [b"3"]
    with log.open("a") as f:
        f.write("4\n5\n")
    assert tail.read() == [b"4", b"5"]


def test_logs_are_found_by_service_by_replica_and_by_name(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.logs.mkdir()
    for name in ("product-1", "product-2", "product-10", "order-1", "supervisor"):
        state.log(name).touch()
    assert [p.stem for p in find(state, "product")] == ["product-1", "product-2", "product-10"]
    assert [p.stem for p in find(state, "product/2")] == ["product-2"]
    assert [p.stem for p in find(state, "supervisor")] == ["supervisor"]
    assert find(state, "product/3") == []


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {n:04}\n" for n in range(1000)) + "begun")
    assert tail(log, 3) == ["line 0998", "line 0999", "begun"]
    assert tail(log, 1000, most=26) == ["line 0998", "line 0999", "begun"]  # not the half line before them
    log.write_bytes(b"x" * 1000)
    assert tail(log, 3, most=100) == []  # a line whose beginning was not read
