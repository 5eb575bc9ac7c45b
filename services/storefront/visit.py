"""A visit: the data of one HTTP request (session, cart, notice) and the cookies that its response sets."""

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
#: Paths that are the same for everyone, and must not renew a session.
WITHOUT_VISIT = ("/static/", "/art/", "/healthz")
#: Seconds that a cart is kept.
CART_AGE = 30 * 24 * 3600
#: The most orders whose checkout trace is remembered.
MAX_TRACES = 10
_ORDER_ID = re.compile(r"[0-9]{1,10}", re.ASCII)


class Visit:
    """The state of one request. Pages get it with `visit_of(request)`."""

    def __init__(self, request: Request, *, secure: bool, address: str = "") -> None:
        self._request, self._secure = request, secure
        #: The visitor's address, as far as it is known, with one text per client.
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
        #: Why an expired session could not be renewed. Raised when the token is requested, because a page
        #: that needs none can still be shown.
        self.renewal_error: ShopError | None = None

    @property
    def token(self) -> str:
        """Return the access token. Raises ShopError (LOGIN) if there is none."""
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
        """Set a new CSRF token, so that one planted before a log-in is worthless after it."""
        self.csrf = secrets.token_urlsafe(32)
        self._put(CSRF, self.csrf)

    def keep_cart(self, cart: Cart) -> None:
        self.cart = cart
        self._put(CART, str(cart), CART_AGE if cart.count else 0)

    def notify(self, notice: str) -> None:
        """Show a notice (a key of `NOTICES`) on the next page."""
        self._put(NOTICE, notice, 60)

    def take_notice(self) -> str:
        """Return the notice to show on this page. It is shown once."""
        if self.notice:
            self._put(NOTICE, "", 0)
        return self.notice

    def keep_trace(self, order_id: int, trace_id: str) -> None:
        """Remember the trace in which an order was placed."""
        if trace_id:
            kept = [(o, t) for o, t in self._traces() if o != order_id]
            latest = [*kept, (order_id, trace_id)][-MAX_TRACES:]
            self._put(TRACES, "~".join(f"{order}.{trace}" for order, trace in latest), CART_AGE)

    def trace_of(self, order_id: int) -> str:
        """Return the trace in which an order was placed, or an empty string."""
        return dict(self._traces()).get(order_id, "")

    def cookies(self) -> list[str]:
        """Return the Set-Cookie headers of the response."""
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
    """Return whether the text is a W3C trace id: 32 lower-case hex digits."""
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def visit_of(request: Request) -> Visit:
    """Return the visit that `VisitMiddleware` created."""
    visit: Visit = request.state.visit
    return visit


class VisitMiddleware:
    """Creates the visit, renews an expired session, and adds the cookies to the response.

    Args:
        app: The wrapped application.
        renewals: Exchanges refresh tokens.
        secure: Whether to send cookies over https only.
        proxies: The peers that may name the client they forward for.
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
        # A client with a token of its own needs no cookies.
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
