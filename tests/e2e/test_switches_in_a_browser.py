"""The console's switches in a real browser on the real shop.

Each test looks at the processes themselves afterwards: the status of the supervisor, the fault service and
the metrics of a replica, the state of a process.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import RunningCluster
from tests.e2e.test_checkout_in_a_browser import browser

pytestmark = pytest.mark.browser
__all__ = ["browser"]
#: Milliseconds that the page, and seconds that the mesh, may take on a loaded machine.
LONG = 300_000.0
PATIENCE = 300.0


def eventually(what: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it was not so in time"
        time.sleep(0.5)


class Console:
    """The page of an admin, and the cluster that it changes."""

    def __init__(self, cluster: RunningCluster, page: Page) -> None:
        self.cluster, self.page = cluster, page
        self.url = str(cluster.status()["console"])
        page.goto(self.url)

    def log_in(self, name: str, password: str) -> None:
        """Log in, again while the user service is overloaded: on a loaded machine it refuses log-ins."""
        eventually(lambda: self._tried(name, password) != 429)

    def _tried(self, name: str, password: str) -> int:
        """The status of one attempt to log in."""
        with self.page.expect_response("**/api/login", timeout=LONG) as told:
            self.page.locator("#name").fill(name)
            self.page.locator("#password").fill(password)
            self.page.locator("#log-in button").click()
        return told.value.status

    def choose(self, what: str) -> None:
        """Open the panel of a service or a replica."""
        self.page.goto(f"{self.url}/#{what.replace('/', '%2F')}")
        expect(self.page.locator("#detail .actions")).to_be_visible(timeout=LONG)

    def form(self, action: str) -> Locator:
        return self.page.locator(f'form[data-action="{action}"]')

    def said(self, words: str) -> None:
        """Wait for the outcome of the last action, in words."""
        expect(self.page.locator("#said")).to_contain_text(words, timeout=LONG)

    def replica(self, service: str, number: int) -> dict[str, Any]:
        found = self.cluster.status()["services"][service]["replicas"]
        return next(r for r in found if r["id"] == number)

    def faults(self, service: str) -> list[dict[str, Any]]:
        """What the replicas' own fault services say."""
        told: list[dict[str, Any]] = json.loads(self.cluster.meshmart("fault", "list", service, "--json"))
        return told

    def log(self) -> list[dict[str, Any]]:
        told = json.loads(urllib.request.urlopen(f"{self.url}/api/log", timeout=60).read())
        entries: list[dict[str, Any]] = told["entries"]
        return entries

    def put_everything_back(self) -> None:
        self.page.locator("#put-back").click()
        self.said("Everything is back")
        expect(self.page.locator("#disturbed li")).to_have_count(0, timeout=LONG)


@pytest.fixture
def console(cluster: RunningCluster, browser: Browser) -> Iterator[Console]:
    """The console of alice, who is an admin."""
    context = browser.new_context()
    console = Console(cluster, context.new_page())
    console.log_in("alice", "alice-password")
    expect(console.page.locator("#switches-who")).to_have_text("logged in as alice", timeout=LONG)
    yield console
    context.close()


def test_a_kill(console: Console) -> None:
    before = console.replica("product", 1)
    console.choose("product/product-1")
    console.form("kill").locator("button").click()
    console.said("product/1 was killed")
    eventually(lambda: console.replica("product", 1)["pid"] not in (None, before["pid"]))
    expect(console.page.locator("#feed")).to_contain_text("alice kills product/1", timeout=LONG)
    eventually(lambda: console.replica("product", 1)["ready"])


def test_a_fault_and_putting_everything_back(console: Console) -> None:
    console.choose("product/product-2")
    form = console.form("fault")
    form.locator("[name=kind]").select_option("error")
    form.locator("[name=method]").fill("GetProduct")
    form.locator("[name=share]").fill("0.5")
    form.locator("button").click()
    console.said("answers UNAVAILABLE, 50% of GetProduct")
    (fault,) = console.faults("product")
    assert (fault["replica"], fault["abort"], fault["share"]) == (2, "UNAVAILABLE", 0.5)
    assert fault["method"] == "ecommerce.ProductService/GetProduct"
    assert fault["remaining"] <= 30  # it has a lease, which the console renews
    expect(console.page.locator("#disturbed li")).to_contain_text("by alice", timeout=LONG)
    console.cluster.meshmart("fault", "set", "product", "--delay", "1ms", "--replica", "1")
    console.put_everything_back()
    console.said("faults of others that were cleared: 1")
    assert console.faults("product") == []


def test_a_crash_and_a_hang(console: Console) -> None:
    before = console.replica("product", 1)
    console.choose("product/product-1")
    console.form("crash").locator("button").click()
    console.said("product/1 crashed")
    eventually(lambda: console.replica("product", 1)["pid"] not in (None, before["pid"]))
    eventually(lambda: console.replica("product", 1)["ready"])
    pid = console.replica("product", 2)["pid"]
    console.choose("product/product-2")
    console.form("pause").locator("button").click()
    console.said("product/2 hangs")
    eventually(lambda: state_of(pid) == "T")
    console.page.locator("#disturbed").get_by_role("button", name="Put back: product/2 hangs").click()
    console.said("put back: product/2 hangs")
    eventually(lambda: state_of(pid) != "T")


def test_what_the_command_line_ends_is_listed_no_more(console: Console) -> None:
    console.choose("product/product-2")
    console.form("pause").locator("button").click()
    console.said("product/2 hangs")
    form = console.form("scale")
    console.choose("product")
    form.locator("[name=replicas]").fill("3")
    form.locator("button").click()
    console.said("product has 3 replicas for now")
    expect(console.page.locator("#disturbed li")).to_have_count(2, timeout=LONG)
    console.cluster.meshmart("kill", "product/2")
    console.cluster.meshmart("scale", "product=2")
    expect(console.page.locator("#disturbed li")).to_have_count(0, timeout=LONG)
    expect(console.page.locator("#feed")).to_contain_text("somebody else has ended that", timeout=LONG)
    assert len(console.cluster.status()["services"]["product"]["replicas"]) == 2


def test_a_scale_and_a_restart(console: Console) -> None:
    console.choose("product")
    form = console.form("scale")
    form.locator("[name=replicas]").fill("3")
    form.locator("button").click()
    console.said("product has 3 replicas for now")
    assert len(console.cluster.status()["services"]["product"]["replicas"]) == 3
    console.put_everything_back()
    replicas = console.cluster.status()["services"]["product"]["replicas"]
    assert len(replicas) == 2
    console.choose("product")
    console.form("restart").locator("button").click()
    console.said("every replica of product was replaced")
    after = console.cluster.status()["services"]["product"]["replicas"]
    assert not {r["pid"] for r in after} & {r["pid"] for r in replicas}


def test_a_rotation(console: Console) -> None:
    before = served_serial(console)
    console.form("rotate").locator("button").click()
    console.said(" certificates")
    eventually(lambda: served_serial(console) != before)


def test_a_load(console: Console) -> None:
    served = calls(console)
    form = console.form("load")
    form.locator("[name=scenario]").select_option("view")
    form.locator("[name=rps]").fill("5")
    form.locator("button").click()
    console.said("load: 5 times a second view")
    eventually(lambda: calls(console) > served)
    console.put_everything_back()


def test_who_is_no_admin_is_refused(cluster: RunningCluster, browser: Browser) -> None:
    context = browser.new_context()
    console = Console(cluster, context.new_page())
    console.log_in("bob", "bob-password")
    console.said("bob is not an admin of the shop")
    assert context.cookies() == []
    expect(console.page.locator("#put-back")).to_be_hidden()
    assert post(console.page, console.url) == 401
    context.close()


def test_a_page_of_another_origin_changes_nothing(console: Console, cluster: RunningCluster) -> None:
    """The shop's own page, in the browser in which alice is logged in at the console."""
    log = console.log()
    shop = console.page.context.new_page()
    shop.goto(cluster.storefront)
    for mode in ("no-cors", "cors"):
        assert post(shop, console.url, mode) in (0, None)  # opaque, or refused by the browser
    shop.evaluate(
        """(url) => { const f = document.createElement("form"); f.method = "post"; f.enctype = "text/plain";
        f.action = url + "/api/do"; document.body.append(f); f.submit(); }""",
        console.url,
    )
    shop.wait_for_load_state()
    assert console.log() == log  # it has each action before it is done


def test_a_session_that_has_ended_opens_nothing(console: Console) -> None:
    cookies = console.page.context.cookies()
    assert cookies[0]["httpOnly"]
    assert cookies[0]["sameSite"] == "Strict"
    console.page.locator("#log-out").click()
    console.said("You are logged out")
    console.page.context.add_cookies([{k: cookies[0][k] for k in ("name", "value", "domain", "path")}])  # type: ignore[misc,literal-required]
    assert post(console.page, console.url) == 401


def post(page: Page, url: str, mode: str = "cors") -> int | None:
    """The status of an attempt to kill product/1 from a page; None if the browser refuses it."""
    status: int | None = page.evaluate(
        """([url, mode]) => fetch(url + "/api/do", {method: "POST", mode, credentials: "include",
        headers: mode === "cors" ? {"content-type": "application/json"} : {},
        body: JSON.stringify({action: "kill", arguments: {service: "product", replica: 1}})})
        .then((r) => r.status, () => null)""",
        [url, mode],
    )
    return status


def state_of(pid: int) -> str:
    """The state of a process: T if it is stopped, nothing if it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def page_of(console: Console, number: int) -> str:
    url = console.replica("product", number)["metrics"]
    text: str = urllib.request.urlopen(url, timeout=60).read().decode()
    return text


def served_serial(console: Console) -> str:
    """The serial of the certificate that product/1 uses, from its own metrics page."""
    return next(line for line in page_of(console, 1).splitlines() if "serial=" in line)


def calls(console: Console) -> float:
    """The calls that both replicas of product have served."""
    lines = [line for n in (1, 2) for line in page_of(console, n).splitlines()]
    return sum(float(line.split()[-1]) for line in lines if line.startswith("grpc_server_handled_total{"))
