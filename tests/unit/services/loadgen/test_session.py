"""Tokens are renewed before they expire, once for all who wait."""

import asyncio
from typing import Any

import grpc
from ecommerce import user_pb2

from grpcmesh.testing.clock import VirtualClock
from services.loadgen.engine import Recorder
from services.loadgen.report import Report
from services.loadgen.session import Session
from tests.unit.services.loadgen.fakes import FakeChannels, failure


class Users:
    """Issues tokens that are good for 100 s."""

    def __init__(self, refresh: Any = None, login: Any = None) -> None:
        self.issued = 0
        self.clock, self.report = VirtualClock(), Report()
        self.channels = FakeChannels(
            {"user/Login": login or self._login, "user/RefreshToken": refresh or self._refresh}
        )
        self.session = Session(self.channels, "bob", self.clock)

    def _login(self, request: Any, _: Any) -> Any:
        assert request.password == "bob-password"
        self.issued += 1
        return user_pb2.LoginResponse(
            access_token=f"access-{self.issued}",
            refresh_token=f"refresh-{self.issued}",
            expires_in=100,
            user=user_pb2.User(id=2),
        )

    def _refresh(self, request: Any, _: Any) -> Any:
        assert request.refresh_token == f"refresh-{self.issued}"
        self.issued += 1
        return user_pb2.RefreshTokenResponse(
            access_token=f"access-{self.issued}", refresh_token=f"refresh-{self.issued}", expires_in=100
        )

    def metadata(self) -> Any:
        return asyncio.run(self.session.metadata(Recorder(self.report, self.clock())))

    def calls(self) -> list[str]:
        return [f"{s.method} {s.code}" for s in self.report.samples]


def test_a_buyer_logs_in_once_and_its_tokens_are_refreshed_before_they_expire() -> None:
    users = Users()
    assert users.metadata() == (("authorization", "Bearer access-1"),)
    users.clock.advance(79)
    assert users.metadata() == (("authorization", "Bearer access-1"),)
    users.clock.advance(2)
    assert users.metadata() == (("authorization", "Bearer access-2"),)
    users.clock.advance(81)
    assert users.metadata() == (("authorization", "Bearer access-3"),)
    assert users.calls() == ["Login OK", "RefreshToken OK", "RefreshToken OK"]
    assert users.session.user_id == 2


def test_many_journeys_at_once_log_in_once() -> None:
    users = Users()

    async def many() -> None:
        recorder = Recorder(users.report, 0.0)
        await asyncio.gather(*(users.session.metadata(recorder) for _ in range(20)))

    asyncio.run(many())
    assert users.calls() == ["Login OK"]


def test_after_a_refresh_that_failed_the_buyer_logs_in_anew_and_never_uses_the_spent_token_again() -> None:
    users = Users(refresh=lambda *_: failure(grpc.StatusCode.UNAVAILABLE))
    users.metadata()
    users.clock.advance(81)
    assert users.metadata() == (("authorization", "Bearer access-2"),)
    assert users.calls() == ["Login OK", "RefreshToken UNAVAILABLE", "Login OK"]


def test_where_nobody_can_log_in_there_is_no_metadata_and_the_failure_is_recorded() -> None:
    users = Users(login=lambda *_: failure(grpc.StatusCode.UNAVAILABLE))
    assert users.metadata() is None
    assert users.calls() == ["Login UNAVAILABLE"]
