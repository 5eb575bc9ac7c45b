"""A person forgets its password, chooses another, and leaves: a real browser, the real shop."""

import json
import os
import re
import secrets
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import RunningCluster
from .test_checkout_in_a_browser import PATIENCE, Shop, browser, shop
from .test_leaving import eventually

__all__ = ["browser", "shop"]  # fixtures

pytestmark = pytest.mark.browser


def look(page: Page, name: str) -> None:
    """Keeps a picture where MESHMART_PICTURES names a directory."""
    if directory := os.environ.get("MESHMART_PICTURES", ""):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def register(page: Page, name: str) -> None:
    page.goto("/register")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Email").fill(f"{name}@example.com")
    page.get_by_label("Password").fill("the first one")
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_text(f"Hi, {name}")).to_be_visible(timeout=PATIENCE)


def choose(page: Page, password: str) -> None:
    page.get_by_label("New password", exact=True).fill(password)
    page.get_by_label("New password again").fill(password)


def test_a_person_forgets_its_password_chooses_others_and_leaves(cluster: RunningCluster, shop: Shop) -> None:
    name = f"p{secrets.token_hex(4)}"
    register(shop.visitor(), name)
    page = shop.visitor()  # elsewhere, where it is not logged in
    page.goto("/login")
    page.get_by_role("link", name="Forgotten your password?").click()
    look(page, "forgotten")
    page.get_by_label("Name or email").fill(name)
    page.get_by_role("button", name="Send me a code").click()
    expect(page.get_by_text("If there is such an account")).to_be_visible(timeout=PATIENCE)

    def letters() -> str:
        return cluster.meshmart("admin", "mail", "--to", f"{name}@example.com")

    eventually(lambda: bool(letters()))
    body = json.loads(letters().splitlines()[0])["body"]
    (code,) = re.findall(r"^[A-Za-z0-9_-]{43}$", body, re.MULTILINE)
    page.get_by_label("Code").fill("not this one")
    choose(page, "the second one")
    page.get_by_role("button", name="Use the new password").click()
    expect(page.get_by_text("Code is wrong")).to_be_visible(timeout=PATIENCE)
    look(page, "reset")
    page.get_by_label("Code").fill(code)
    choose(page, "the second one")
    page.get_by_role("button", name="Use the new password").click()
    page.get_by_label("Name or email").fill(name)
    page.get_by_label("Password").fill("the second one")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=f"Hi, {name}").click()

    page.get_by_label("Current password").first.fill("the second one")
    choose(page, "the third one")
    page.get_by_role("button", name="Change my password").click()
    expect(page.get_by_text("Your password is changed")).to_be_visible(timeout=PATIENCE)
    page.get_by_label("Current password").last.fill("the second one")
    page.get_by_label("Yes, delete my account.").check()
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_text("Current password is not the one")).to_be_visible(timeout=PATIENCE)
    look(page, "account")
    page.get_by_label("Current password").last.fill("the third one")
    page.get_by_label("Yes, delete my account.").check()
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_text("Your account is deleted")).to_be_visible(timeout=PATIENCE)
    assert not shop.complaints
