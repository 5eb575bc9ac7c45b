"""The log-in of admins at the console, with their name and password of the shop.

A session is a random id in a cookie that no script can read and that no page of another site sends.
Everything else about a session is kept in `sessions`. See `changes` for the checks of requests that change
something.
"""

from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from grpcmesh.clock import Clock
from grpcmesh.clock import monotonic as real_clock
from meshmart.console.accounts import Account, Accounts, BusyError, UnansweredError
from meshmart.console.origins import Origins
from meshmart.console.refusal import RefusedError
from meshmart.console.sessions import Session, Sessions
from meshmart.console.throttle import Throttle
from services.kit.text import is_encodable

#: The cookie's names. A browser takes the first from https only, and from no other host of the domain.
SECURE_COOKIE, COOKIE = "__Host-meshmart-console", "meshmart-console"
#: The longest name and password.
MOST = 1024
#: The most log-ins that are tried at once: for each the user service hashes a password.
AT_ONCE = 4
#: Seconds after which the user service is asked again whether a log-in is valid.
CHECK_EVERY = 60.0
#: Seconds after which a user service that did not answer is asked again.
ASK_AGAIN = 10.0
_WRONG = "wrong name or password"
_LOG_IN = "log in as an admin first"


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that has begun."""

    name: str
    number: str = field(repr=False)
    secure: bool

    def give_to(self, response: Response) -> None:
        """Add the cookie to an answer."""
        cookie = SECURE_COOKIE if self.secure else COOKIE
        response.set_cookie(
            cookie, self.number, path="/", secure=self.secure, httponly=True, samesite="strict"
        )


class Admins:
    """Knows who is logged in.

    Args:
        accounts: The users of the shop.
        origins: The console's own origins.
        clock: Returns monotonic seconds.
        may_change: Whether admins may change something here. If not, the console only shows the mesh.
    """

    def __init__(
        self, accounts: Accounts, origins: Origins, clock: Clock = real_clock, may_change: bool = True
    ) -> None:
        self.origins, self.may_change = origins, may_change
        self._accounts, self._clock = accounts, clock
        self._sessions, self._throttle = Sessions(clock), Throttle()
        self._trying = 0

    async def actor(self, request: Request) -> str:
        """Return the name of the admin who makes a request.

        Raises:
            RefusedError: nobody is logged in (401), or the log-in has ended at the user service.
        """
        number = self._number(request)
        session = self._sessions.find(number) if number else None
        if session is None or not await self._is_good(number, session):
            raise RefusedError(401, _LOG_IN)
        return session.name

    def name(self, request: Request) -> str:
        """Return the name of the admin, without asking the user service; empty if nobody is logged in."""
        number = self._number(request)
        session = self._sessions.find(number) if number else None
        return session.name if session else ""

    async def log_in(self, request: Request, name: str, password: str) -> Begun:
        """Begin a session, and end the session that the request had, which may be another user's.

        Args:
            request: The request.
            name: The user's name or email.
            password: The user's password.

        Raises:
            RefusedError: the password is wrong, the user is no admin, there were too many failures, or the
                user service does not answer.
        """
        account = await self._tried(_peer(request), name, password)
        if not account.is_admin:
            await self._accounts.log_out(account.secret)
            raise RefusedError(403, f"{account.name} is not an admin of the shop")
        await self._end(self._number(request))
        secure = self.origins.secure(request.headers.get("host", ""))
        check_at = self._clock() + CHECK_EVERY
        return Begun(account.name, self._sessions.begin(account.name, account.secret, check_at), secure)

    async def log_out(self, request: Request, response: Response) -> None:
        """End the session of a request, here and at the user service. Idempotent."""
        await self._end(self._number(request))
        for cookie in (SECURE_COOKIE, COOKIE):
            if cookie in request.cookies:
                secure = cookie == SECURE_COOKIE
                response.delete_cookie(cookie, path="/", secure=secure, httponly=True, samesite="strict")

    def _number(self, request: Request) -> str:
        secure = self.origins.secure(request.headers.get("host", ""))
        return request.cookies.get(SECURE_COOKIE if secure else COOKIE, "")

    async def _end(self, number: str) -> None:
        ended = self._sessions.end(number) if number else None
        if ended:
            await self._accounts.log_out(ended.secret)

    async def _tried(self, peer: str, name: str, password: str) -> Account:
        if not all(text and len(text) <= MOST and is_encodable(text) for text in (name, password)):
            raise RefusedError(400, "a log-in needs a name and a password")
        if wait := self._throttle.wait(peer, name, self._clock()):
            raise RefusedError(429, "too many failed log-ins; try again later", wait)
        if self._trying >= AT_ONCE:
            raise RefusedError(429, "too many log-ins at once; try again", 1)
        self._trying += 1
        self._throttle.begin(peer, name, self._clock())
        try:
            account = await self._accounts.log_in(name, password)
        except BusyError:
            self._throttle.undecided(peer, name)
            raise RefusedError(429, "the user service refuses log-ins for now; try again later", 30) from None
        except UnansweredError as e:
            self._throttle.undecided(peer, name)
            raise RefusedError(503, f"nobody can log in: the user service does not answer ({e})") from None
        finally:
            self._trying -= 1
        if account is None:
            raise RefusedError(401, _WRONG)
        self._throttle.succeeded(peer, name)
        return account

    async def _is_good(self, number: str, session: Session) -> bool:
        """Return whether a log-in is still valid. The user service is asked from time to time.

        If it does not answer, the log-in counts as valid: an admin who has just broken the user service must
        be able to put it back.
        """
        async with session.checking:
            if self._clock() < session.check_at:
                return True
            try:
                secret = await self._accounts.renew(session.secret)
            except UnansweredError:
                session.check_at = self._clock() + ASK_AGAIN
                return True
            if secret is None:
                self._sessions.end(number)
                return False
            session.secret, session.check_at = secret, self._clock() + CHECK_EVERY
            return True


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
