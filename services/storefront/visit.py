"""A visit: what one HTTP request brings (session, cart, notice) and what its answer sets (cookies)."""

import re
import secrets
from http.cookies import SimpleCookie

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grpcmesh.http import Proxies
from grpcmesh.telemetry.context import current_trace
from services.storefront.cart import Cart
from services.storefront.domain import Problem, ShopError, Tokens
from services.storefront.sessions import Renewals, Session
from services.storefront.trail import Trail, current_trail

SESSION, REFRESH, CART, CSRF, NOTICE, TRACES = "session", "refresh", "cart", "csrf", "notice", "traces"
#: What is the same for everyone, and must not renew a session.
WITHOUT_VISIT = ("/static/", "/art/", "/healthz")
#: Seconds that a cart is kept.
CART_AGE = 30 * 24 * 3600
#: Orders whose checkout trace is remembered.
MAX_TRACES = 10
_ORDER_ID = re.compile(r"[0-9]{1,10}", re.ASCII)


class Visit:
    """One request's state. Pages get it by `visit_of(request)`."""

    def __init__(self, request: Request, *, secure: bool, address: str = "") -> None:
        self._request, self._secure = request, secure
        #: Of the visitor, as far as it is known; one text for one subscriber.
        self.address = address
        self._set: SimpleCookie = SimpleCookie()
        self.trail = Trail()
        self.idempotent = request.method == "GET"
        self.session = Session.read(self._cookie(SESSION))
        self.cart = Cart.parse(self._cookie(CART))
        self.csrf = self._cookie(CSRF)
        if len(self.csrf) != 43:
            self.rotate_csrf()
        self.notice = self._cookie(NOTICE)
        #: Why an expired session could not be renewed: raised when the token is asked for, since a page
        #: that needs none can be shown all the same.
        self.renewal_error: ShopError | None = None

    @property
    def token(self) -> str:
        """The access token. Raises ShopError(LOGIN) without one."""
        if self.renewal_error is not None:
            raise self.renewal_error
        if self.session is None:
            raise ShopError(Problem.LOGIN, "please log in")
        return self.session.token

    @property
    def user_id(self) -> int:
        return self.session.user_id if self.session else 0

    @property
    def refresh_token(self) -> str:
        return self._cookie(REFRESH)

    def log_in(self, tokens: Tokens) -> None:
        self.session = Session.read(tokens.access)
        self._put(SESSION, tokens.access)
        self._put(REFRESH, tokens.refresh)

    def log_out(self) -> None:
        self.session = None
        self._put(SESSION, "", 0)
        self._put(REFRESH, "", 0)

    def rotate_csrf(self) -> None:
        """A new token, so that one planted before a log-in is worth nothing after it."""
        self.csrf = secrets.token_urlsafe(32)
        self._put(CSRF, self.csrf)

    def keep_cart(self, cart: Cart) -> None:
        self.cart = cart
        self._put(CART, str(cart), CART_AGE if cart.count else 0)

    def notify(self, notice: str) -> None:
        """Shows a notice (a key of `NOTICES`) on the next page."""
        self._put(NOTICE, notice, 60)

    def take_notice(self) -> str:
        """The notice to show on this page; it is shown once."""
        if self.notice:
            self._put(NOTICE, "", 0)
        return self.notice

    def keep_trace(self, order_id: int, trace_id: str) -> None:
        """Remembers which trace an order was made in."""
        if trace_id:
            kept = [(o, t) for o, t in self._traces() if o != order_id]
            latest = [*kept, (order_id, trace_id)][-MAX_TRACES:]
            self._put(TRACES, "~".join(f"{order}.{trace}" for order, trace in latest), CART_AGE)

    def trace_of(self, order_id: int) -> str:
        """The trace an order was made in, or empty."""
        return dict(self._traces()).get(order_id, "")

    def cookies(self) -> list[str]:
        """The Set-Cookie headers of the answer."""
        return [morsel.OutputString() for morsel in self._set.values()]

    def _traces(self) -> list[tuple[int, str]]:
        pairs = [part.partition(".") for part in self._cookie(TRACES).split("~")[:MAX_TRACES]]
        return [(int(o), t) for o, _, t in pairs if _ORDER_ID.fullmatch(o) and is_trace_id(t)]

    def _cookie(self, name: str) -> str:
        return self._request.cookies.get(name, "")

    def _put(self, name: str, value: str, max_age: int | None = None) -> None:
        self._set[name] = value
        morsel = self._set[name]
        morsel["path"], morsel["httponly"], morsel["samesite"] = "/", True, "Lax"
        if self._secure:
            morsel["secure"] = True
        if max_age is not None:
            morsel["max-age"] = max_age


def is_trace_id(text: str) -> bool:
    """Whether it is a W3C trace id: 32 lower-case hex digits."""
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def visit_of(request: Request) -> Visit:
    """The visit that `VisitMiddleware` made."""
    visit: Visit = request.state.visit
    return visit


class VisitMiddleware:
    """Makes the visit, renews an expired session, and writes the cookies into the answer.

    Args:
        app: What it stands around.
        renewals: Exchanges refresh tokens.
        secure: Cookies for https only.
        proxies: Are believed when they say whom they speak for.
    """

    def __init__(
        self, app: ASGIApp, renewals: Renewals, secure: bool, proxies: Proxies | None = None
    ) -> None:
        self._app, self._renewals, self._secure = app, renewals, secure
        self._proxies = proxies or Proxies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(WITHOUT_VISIT):
            await self._app(scope, receive, send)
            return
        visit = Visit(request := Request(scope), secure=self._secure, address=self._address(request))
        if (trace := current_trace()) is not None and trace.sampled:
            visit.trail.trace_id = trace.trace_id
        scope.setdefault("state", {})["visit"] = visit
        # Whoever brings a token of its own has no use for cookies.
        api = scope["path"].startswith("/api/")

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start" and not api:
                headers: MutableHeaders = MutableHeaders(scope=message)
                for cookie in visit.cookies():
                    headers.append("set-cookie", cookie)
            await send(message)

        context = current_trail.set(visit.trail)
        try:
            if not api:
                await self._renew(visit)
            await self._app(scope, receive, send_with_cookies)
        finally:
            current_trail.reset(context)

    def _address(self, request: Request) -> str:
        peer = request.client.host if request.client else ""
        return self._proxies.client(peer, request.headers.getlist("x-forwarded-for"))

    async def _renew(self, visit: Visit) -> None:
        if visit.session is not None and not visit.session.is_over(self._renewals.now()):
            return
        if not visit.refresh_token:
            visit.session = None
            return
        try:
            tokens = await self._renewals.renew(visit.refresh_token)
        except ShopError as e:
            visit.renewal_error = e
            return
        if tokens is None:
            visit.log_out()
        else:
            visit.log_in(tokens)
