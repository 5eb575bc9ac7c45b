"""The feed: bounded, and readable while a replica flaps."""

from meshmart.console.feed import AGAIN, MOST, Feed
from meshmart.console.model import Event, Kind


def event(text: str, *about: str) -> Event:
    return Event(Kind.INFO, text, "product", about)


def texts(feed: Feed) -> list[str]:
    return [entry.event.text for entry in feed]


def test_a_replica_that_flaps_does_not_push_out_what_others_do() -> None:
    feed = Feed()
    feed.add(event("alice kills product/1"), 0)
    for second in range(1, 1001):
        feed.add(event("product-2 left rotation: NOT_SERVING", "product-2"), second)
        feed.add(event(f"product-2 ended and was started again ({second} restarts)", "product-2"), second)
        feed.add(event(f"product renewed its certificate: serial {second:08x}…", "product"), second)
    assert texts(feed) == [
        "alice kills product/1",
        "product-2 left rotation: NOT_SERVING (1000 times)",
        "product-2 ended and was started again (1000 restarts) (1000 times)",
        f"product renewed its certificate: serial {1000:08x}… (1000 times)",
    ]
    assert [entry.at for entry in feed] == [0, 1000, 1000, 1000]


def test_entries_that_changed_have_numbers_of_their_own() -> None:
    feed = Feed()
    for second in range(3):
        feed.add(event("product-2 starts", "product-2"), second)
    assert [entry.number for entry in feed] == [3]


def test_what_happens_to_others_later_or_by_an_admin_is_told_each_time() -> None:
    feed = Feed()
    for replica in ("product-1", "product-2"):
        feed.add(event(f"{replica} starts", replica), 0)
    feed.add(event("product-1 starts", "product-1"), AGAIN)
    for second in range(2):
        feed.add(event("alice kills product/1"), second)
    told = ["product-1 starts", "product-2 starts", "product-1 starts"]
    assert texts(feed) == [*told, "alice kills product/1", "alice kills product/1"]


def test_a_clock_that_is_set_back_loses_nothing_and_there_is_a_bound() -> None:
    feed = Feed()
    feed.add(event("product-1 starts", "product-1"), 1e9)
    feed.add(event("product-1 starts", "product-1"), 0)
    assert texts(feed) == ["product-1 starts", "product-1 starts"]
    for number in range(2 * MOST):
        feed.add(event(f"replica-{number} starts", f"replica-{number}"), 1)
    assert len(texts(feed)) == MOST
