"""The manifests against what happens: services make the calls that they list, and no others.

`tests/unit/services/test_least_privilege.py` reads the code. Here a shop runs, people do in it all that
they can do, and the access logs of its replicas say who called what.
"""

import contextlib
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from services.manifest import shop as manifests
from tests.ports import loopback_prefix

from .conftest import RunningCluster, up

#: Seconds: in which everything has happened, on a machine with other work; for one request; in which what a
#: visit leaves in the outboxes is delivered and the load generator renews its tokens, else there is another.
PATIENCE, TIMEOUT, DELIVERED = 900.0, 120.0, 25.0
#: Calls that are listed and that nobody makes here: (caller, method) and the reason.
NEVER: Mapping[tuple[str, str], str] = {}
SETTINGS = {
    # So short that the load generator renews its tokens meanwhile; the storefront does so at each page.
    "MESHMART_ACCESS_TOKEN_LIFETIME": "25",
    "MESHMART_LOAD_RPS": "4",
}
ADDRESS = {
    "street": "1 Mesh Lane",
    "zip_code": "12700",
    "city": "Loopback",
    "state": "",
    "country": "Testland",
    "pay": "wallet",
}

Call = tuple[str, str]
"""The caller, and the method such as `ecommerce.OrderService/GetOrder`."""


class NotServedError(Exception):
    """A page was not what a person needs to go on: the machine is busy."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One replica of everything, the load generator included."""
    environment = SETTINGS | {"MESHMART_LOOPBACK": loopback_prefix()}
    replicas = [word for name in manifests() for word in ("--replicas", f"{name}=1")]
    with up(RunningCluster(tmp_path_factory.mktemp("calls") / "state", environment), *replicas) as running:
        yield running


def listed() -> frozenset[Call]:
    """Return the calls that the manifests list."""
    return frozenset(
        (name, f"{manifests()[target].service}/{method}")
        for name, manifest in manifests().items()
        for target, methods in manifest.calls.items()
        for method in methods
    )


def made(state: Path) -> frozenset[Call]:
    """Return the calls between services that the access logs have, those that were refused included."""
    logs = (path.read_text(errors="replace") for path in sorted((state / "logs").rglob("*.log")))
    lines = (line for log in logs for line in log.splitlines(keepends=True))
    calls = (json.loads(line) for line in lines if '"method":"ecommerce.' in line and line.endswith("}\n"))
    return frozenset((c["caller"], c["method"]) for c in calls if c.get("caller") in manifests())


class Person:
    """Somebody at the storefront, with cookies, who presses buttons as a browser without JavaScript does."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.name = f"p{secrets.token_hex(4)}"

    def get(self, path: str) -> str:
        response = self._http.get(path)
        if response.status_code != 200:
            raise NotServedError(f"GET {path}: {response.status_code}")
        return response.text

    def send(self, page: str, action: str, **fields: str) -> str:
        """Send the form `action` of a page, and return where it leads to."""
        form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', self.get(page), re.DOTALL)
        if form is None:
            raise NotServedError(f"{page} has no form {action}")
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))
        response = self._http.post(action, data=hidden | fields)
        if response.status_code != 303:
            raise NotServedError(f"POST {action}: {response.status_code}")
        return response.headers["location"]

    def follow(self, order: str) -> None:
        """Open the stream of the order's page, and leave it at its first event."""
        self.get(order)
        leave = time.monotonic() + TIMEOUT  # it is kept alive with comments
        with self._http.stream("GET", f"{order}/events?after=1") as events:  # since it was placed
            for line in events.iter_lines():
                if line.startswith("event: ") or time.monotonic() > leave:
                    return

    def buy(self) -> str:
        self.send("/products/2", "/cart/add")
        self.get("/cart")
        return self.send("/checkout", "/checkout", **ADDRESS)


def visit(address: str) -> None:
    """Do all that a buyer, a person who leaves, and an admin can do."""
    with browser(address) as buyer, browser(address) as admin:
        for path in ("/", "/search?q=lamp"):
            buyer.get(path)
        email = f"{buyer.name}@example.com"
        buyer.send("/register", "/register", name=buyer.name, email=email, password="the first one")
        kept, cancelled = buyer.buy(), buyer.buy()
        buyer.follow(kept)
        buyer.follow(cancelled)
        buyer.get("/orders")
        buyer.send(cancelled, f"{cancelled}/status", status="cancelled")
        admin.send("/login", "/login", login="alice", password="alice-password")
        admin.send(kept, f"{kept}/status", status="shipped")
        leave(buyer)


def leave(person: Person) -> None:
    """Forget the password, change it, and delete the account."""
    passwords = {"current": "the first one", "new": "the second one", "again": "the second one"}
    person.send("/account", "/account/password", **passwords)
    person.send("/orders", "/logout")
    person.send("/forgotten", "/forgotten", login=person.name)
    with contextlib.suppress(NotServedError):  # that is not the code
        person.send("/reset", "/reset", code="a" * 43, new="the third one", again="the third one")
    person.send("/login", "/login", login=person.name, password="the second one")
    person.send("/account", "/account/delete", current="the second one", sure="yes")


@contextlib.contextmanager
def browser(address: str) -> Iterator[Person]:
    with httpx.Client(base_url=address, timeout=TIMEOUT) as http:
        yield Person(http)


def happened(shop: RunningCluster) -> bool:
    """Wait for what a visit leaves in the outboxes. Return whether each listed call was made."""
    end = time.monotonic() + DELIVERED
    while missing(shop) and time.monotonic() < end:
        time.sleep(0.5)
    return not missing(shop)


def missing(shop: RunningCluster) -> frozenset[Call]:
    return listed() - made(shop.state_dir) - NEVER.keys()


def test_services_make_the_calls_that_their_manifests_list_and_no_others(shop: RunningCluster) -> None:
    address, give_up, troubles = shop.storefront, time.monotonic() + PATIENCE, list[str]()
    while True:
        try:
            visit(address)
        except (NotServedError, httpx.HTTPError) as e:  # the machine is busy: another visit
            troubles.append(f"{type(e).__name__}: {e}")
        if happened(shop):
            break
        assert time.monotonic() < give_up, (sorted(missing(shop)), troubles[-3:])
    assert made(shop.state_dir) <= listed()
    assert NEVER.keys() <= listed(), "a reason for a call that no manifest lists"

    # What nobody may do is seen, too, if somebody tries.
    refused = shop.run("call", "ecommerce.OrderService/EraseUser", "{}", "--as", "product")
    assert "PERMISSION_DENIED" in refused.stderr
    tried = ("product", "ecommerce.OrderService/EraseUser")
    while time.monotonic() < give_up and tried not in made(shop.state_dir):
        time.sleep(0.5)
    assert made(shop.state_dir) - listed() == {tried}
