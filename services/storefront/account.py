"""The pages to log in, log out and register."""

from math import ceil

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.storefront.domain import Problem, ShopError
from services.storefront.forms import Form, field_errors, form_route, local_path
from services.storefront.site import Site, see
from services.storefront.visit import visit_of

_INPUTS = {"name": "name", "email": "email", "password": "password", "login": "login"}
#: Problems that the visitor can fix in the form itself.
_OWN_FAULT = frozenset({Problem.INVALID, Problem.EXISTS, Problem.RULE})


_TOO_MANY = "Too many tries. Please wait a little before the next one."


class AccountPages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.login),
            form_route("/login", self.log_in),
            Route("/register", self.registration),
            form_route("/register", self.register),
            form_route("/logout", self.log_out),
        ]

    async def login(self, request: Request) -> Response:
        after = local_path(request.query_params.get("next", "/"))
        return see(after) if visit_of(request).session else self._login(request, after)

    async def log_in(self, request: Request, form: Form) -> Response:
        after, login = local_path(form.get("next", "/")), form.get("login", "")
        visit = visit_of(request)
        try:
            tokens = await self._site.shop.accounts.login(login, form.get("password", ""), visit.address)
        except ShopError as e:
            # The service's message would reveal whether the name exists; this one does not.
            if e.problem in (Problem.LOGIN, Problem.NOT_FOUND):
                return self._login(
                    request, after, login, {"form": "That name and password do not match."}, 401
                )
            if e.problem in _OWN_FAULT:
                return self._login(request, after, login, field_errors(e, _INPUTS), 422)
            if e.problem is Problem.BUSY:
                response = self._login(request, after, login, {"form": _TOO_MANY}, 429)
                response.headers["retry-after"] = str(ceil(e.retry_after or 1))
                return response
            raise
        visit.log_in(tokens)
        visit.rotate_csrf()
        visit.notify("logged-in")
        return see(after)

    def _login(
        self,
        request: Request,
        after: str,
        login: str = "",
        errors: dict[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        return self._site.page(request, "login.html", status, after=after, login=login, errors=errors or {})

    async def registration(self, request: Request) -> Response:
        after = local_path(request.query_params.get("next", "/"))
        return self._site.page(request, "register.html", form={}, errors={}, after=after)

    async def register(self, request: Request, form: Form) -> Response:
        after = local_path(form.get("next", "/"))
        accounts, address = self._site.shop.accounts, visit_of(request).address
        name, email, password = form.get("name", ""), form.get("email", ""), form.get("password", "")
        try:
            if len(password) < 8:
                raise ShopError(Problem.INVALID, fields={"password": "must have at least 8 characters"})
            await accounts.register(name, email, password, address)
            tokens = await accounts.login(email, password, address)
        except ShopError as e:
            if e.problem not in _OWN_FAULT:
                raise
            known = {"name": name, "email": email}
            errors = field_errors(e, _INPUTS)
            return self._site.page(request, "register.html", 422, form=known, errors=errors, after=after)
        visit = visit_of(request)
        visit.log_in(tokens)
        visit.rotate_csrf()
        visit.notify("registered")
        return see(after)

    async def log_out(self, request: Request, form: Form) -> Response:
        """Delete the cookies in any case; the notice says whether the tokens were revoked, too."""
        visit = visit_of(request)
        ended = True
        if visit.refresh_token:
            try:
                await self._site.shop.accounts.logout(visit.refresh_token)
            except ShopError as e:
                ended = e.problem is Problem.INVALID  # it was no token
        visit.log_out()
        visit.rotate_csrf()
        visit.notify("logged-out" if ended else "logged-out-here")
        return see("/")
