"""The pages to change a password, to recover a forgotten one, and to delete the account."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront.domain import Problem, ShopError
from services.storefront.forms import Form, field_errors, form_route
from services.storefront.site import Site, see
from services.storefront.visit import visit_of

_INPUTS = {"current_password": "current", "new_password": "new", "code": "code", "login": "login"}
_TOO_MANY = "Too many tries. Please wait a little before the next one."
#: Errors that the visitor can fix, by the service's reason: the input, and the text.
_REASONS = {
    "WRONG_PASSWORD": ("current", "is not the one of this account"),
    "RESET_CODE": ("code", "is wrong, was used before, or is older than half an hour"),
}
#: Passwords must not stay in a cache.
_NOT_KEPT = {"cache-control": "no-store"}


class OwnAccountPages:
    """The pages of the visitor's own account.

    Args:
        site: The shop.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        return [
            Route("/account", self.account),
            form_route("/account/password", self.change_password),
            form_route("/account/delete", self.delete),
            Route("/forgotten", self.forgotten),
            form_route("/forgotten", self.send_code),
            Route("/reset", self.resetting),
            form_route("/reset", self.reset),
        ]

    async def account(self, request: Request) -> Response:
        if visit_of(request).session is None:
            return self._site.login_required(request)
        return self._page(request, "account.html", form="")

    async def change_password(self, request: Request, form: Form) -> Response:
        visit, current, new = visit_of(request), form.get("current", ""), form.get("new", "")
        if visit.session is None:
            return see("/login?next=/account")
        try:
            _check_repeated(form)
            tokens = await self._site.shop.accounts.change_password(
                visit.session.token, current, new, visit.address
            )
        except ShopError as e:
            return self._refused(request, e, "account.html", form="password")
        visit.log_in(tokens)
        visit.rotate_csrf()
        visit.notify("password-changed")
        return see("/account")

    async def delete(self, request: Request, form: Form) -> Response:
        visit = visit_of(request)
        if visit.session is None:
            return see("/login?next=/account")
        try:
            if form.get("sure", "") != "yes":
                raise ShopError(Problem.INVALID, "Tick the box if you really want to leave.")
            await self._site.shop.accounts.delete(
                visit.session.token, visit.session.user_id, form.get("current", "") or " ", visit.address
            )
        except ShopError as e:
            return self._refused(request, e, "account.html", form="delete")
        visit.log_out()
        visit.rotate_csrf()
        visit.notify("account-deleted")
        return see("/")

    async def forgotten(self, request: Request) -> Response:
        return self._page(request, "forgotten.html", login="")

    async def send_code(self, request: Request, form: Form) -> Response:
        visit, login = visit_of(request), form.get("login", "")
        try:
            await self._site.shop.accounts.forgotten_password(login, visit.address)
        except ShopError as e:
            return self._refused(request, e, "forgotten.html", login=login)
        visit.notify("code-sent")
        return see("/reset")

    async def resetting(self, request: Request) -> Response:
        return self._page(request, "reset.html")

    async def reset(self, request: Request, form: Form) -> Response:
        visit = visit_of(request)
        try:
            _check_repeated(form)
            await self._site.shop.accounts.reset_password(
                form.get("code", ""), form.get("new", ""), visit.address
            )
        except ShopError as e:
            return self._refused(request, e, "reset.html")
        visit.log_out()
        visit.rotate_csrf()
        visit.notify("password-reset")
        return see("/login")

    def _refused(self, request: Request, error: ShopError, template: str, **context: Any) -> Response:
        """Serve the form again, with the error at its input. Raises an error that the visitor cannot fix."""
        if error.problem is Problem.BUSY:
            response = self._page(request, template, 429, {"form": _TOO_MANY}, **context)
            response.headers["retry-after"] = str(ceil(error.retry_after or 1))
            return response
        if error.reason in _REASONS:
            name, text = _REASONS[error.reason]
            return self._page(request, template, 422, {name: text}, **context)
        if error.problem is Problem.INVALID:
            return self._page(request, template, 422, field_errors(error, _INPUTS), **context)
        raise error

    def _page(
        self,
        request: Request,
        template: str,
        status: int = 200,
        errors: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        response = self._site.page(request, template, status, errors=dict(errors or {}), **context)
        response.headers.update(_NOT_KEPT)
        return response


def _check_repeated(form: Form) -> None:
    if form.get("new", "") != form.get("again", ""):
        raise ShopError(Problem.INVALID, fields={"new_password": "was typed in two different ways"})
