"""Implements AnalyticsService over the use cases."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ecommerce import analytics_pb2 as pb
from ecommerce import analytics_pb2_grpc

from grpcmesh.call import current_workload
from grpcmesh.clock import Clock
from grpcmesh.errors import PermissionDenied
from services.analytics.domain import BOOKED, Event
from services.analytics.figures import Figures
from services.analytics.wire import (
    dashboard_message,
    event_of,
    metric_message,
    minutes_of,
    name_of,
    names_of,
    range_of,
)
from services.kit.caller import current_actor
from services.kit.intake import entry
from services.kit.validation import checking
from services.manifest import shop

#: The most events counted in one transaction.
BATCH = 500
#: Workloads that report what users do but keep no books: they may not report orders and payments.
HEARSAY = frozenset(name for name, manifest in shop().items() if not manifest.stores)


class AnalyticsServicer(analytics_pb2_grpc.AnalyticsServiceServicer):
    """Converts protobuf messages and calls the use cases.

    Args:
        figures: The use cases.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, figures: Figures, now: Clock) -> None:
        self._figures, self._now = figures, now

    async def TrackEvent(self, request: pb.EventRequest, context: Any) -> pb.EventResponse:
        with checking() as check:
            event = event_of(check, request, self._now())
        _require_honest(event, request.user_id)
        return pb.EventResponse(accepted=await self._figures.record([event]))

    async def TrackEvents(
        self, request_iterator: AsyncIterator[pb.EventRequest], context: Any
    ) -> pb.EventResponse:
        accepted, batch, place = 0, list[pb.EventRequest](), 0
        async for request in request_iterator:
            batch.append(request)
            if len(batch) == BATCH:
                accepted += await self._record(batch, place)
                place += len(batch)
                batch.clear()
        accepted += await self._record(batch, place)
        return pb.EventResponse(accepted=accepted)

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Any) -> pb.GetMetricsResponse:
        current_actor().require_admin()
        with checking() as check:
            name = name_of(check, "name", request.name)
            start, end = range_of(check, request, self._now())
        found = await self._figures.series(name, start, end)
        return pb.GetMetricsResponse(metrics=[metric_message(metric) for metric in found])

    async def StreamMetrics(self, request: pb.StreamMetricsRequest, context: Any) -> AsyncIterator[pb.Metric]:
        current_actor().require_admin()
        with checking() as check:
            names = names_of(check, list(request.names))
            check.that(request.after_cursor >= 0, "after_cursor", "must not be negative")
        after = request.after_cursor or await self._figures.latest()
        await context.send_initial_metadata(())  # tells the client that later changes will arrive
        async with aclosing(self._figures.follow(names, after)) as metrics:
            async for metric in metrics:
                yield metric_message(metric)

    async def GetDashboard(self, request: pb.DashboardRequest, context: Any) -> pb.DashboardResponse:
        current_actor().require_admin()
        with checking() as check:
            minutes = minutes_of(check, request.minutes)
        return dashboard_message(await self._figures.dashboard(minutes))

    async def _record(self, requests: list[pb.EventRequest], place: int) -> int:
        """Count a batch, all of it or nothing. `place` is the index of its first event in the stream."""
        events: list[Event] = []
        with checking() as check:
            for number, request in enumerate(requests, place):
                with entry(check, number) as inner:
                    events.append(event_of(inner, request, self._now()))
        for event, request in zip(events, requests, strict=True):
            _require_honest(event, request.user_id)
        return await self._figures.record(events)


def _require_honest(event: Event, user_id: int) -> None:
    """Raise PermissionDenied if the caller cannot know of the event, or reports it for another user."""
    workload, actor = current_workload(), current_actor()
    if event.kind in BOOKED and workload is not None and workload.service in HEARSAY:
        raise PermissionDenied(
            f"{workload.service} keeps no books", "WORKLOAD_NOT_ALLOWED", kind=event.kind.value
        )
    if user_id and actor.user_id:
        actor.require_self_or_admin(user_id)
