"""Sessions of admins: their number and age are bounded, and an id that has ended opens nothing."""

from meshmart.console.sessions import AGE, IDLE, MAX_SESSIONS, Sessions


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_is_found_by_its_id_only() -> None:
    sessions = Sessions(Clock())
    number = sessions.begin("alice", "refresh", 0)
    found = sessions.find(number)
    assert found is not None
    assert found.name == "alice"
    for wrong in ("", number[:-1], number + "x", "\ud800"):
        assert sessions.find(wrong) is None


def test_ids_are_long_and_never_the_same() -> None:
    sessions = Sessions(Clock())
    numbers = {sessions.begin("alice", "", 0) for _ in range(50)}
    assert len(numbers) == 50
    assert min(map(len, numbers)) >= 43  # 256 bits


def test_a_session_ends_when_it_is_not_used() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    number = sessions.begin("alice", "", 0)
    for _ in range(3):
        clock.now += IDLE - 1
        assert sessions.find(number)
    clock.now += IDLE
    assert sessions.find(number) is None
    clock.now -= IDLE
    assert sessions.find(number) is None


def test_a_session_ends_however_often_it_is_used() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    number = sessions.begin("alice", "", 0)
    end = clock.now + AGE
    while clock.now + IDLE / 2 < end:
        clock.now += IDLE / 2
        assert sessions.find(number)
    clock.now = end
    assert sessions.find(number) is None


def test_a_session_that_was_ended_is_never_found_again() -> None:
    sessions = Sessions(Clock())
    number = sessions.begin("alice", "refresh", 0)
    ended = sessions.end(number)
    assert ended is not None
    assert ended.secret == "refresh"
    assert sessions.find(number) is None
    assert sessions.end(number) is None


def test_the_session_that_was_not_used_the_longest_makes_room() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    numbers = []
    for n in range(MAX_SESSIONS):
        clock.now += 1
        numbers.append(sessions.begin(f"admin{n}", "", 0))
    clock.now += 1
    assert sessions.find(numbers[0])
    sessions.begin("one more", "", 0)
    assert len(sessions) == MAX_SESSIONS
    assert sessions.find(numbers[0])
    assert sessions.find(numbers[1]) is None


def test_a_session_shows_no_secret() -> None:
    sessions = Sessions(Clock())
    number = sessions.begin("alice", "refresh-secret", 0)
    assert "refresh-secret" not in repr(sessions.find(number))
    assert number not in repr(vars(sessions))
