"""`meshmart load`: generates open-loop load through the mesh, and prints a report."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from local.options import parse_duration
from local.words import plural
from meshmart.ask import parsed
from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there
from meshmart.output import console, watched

if TYPE_CHECKING:
    from grpcmesh.member import Member
    from services.loadgen.report import Report

#: The most seconds before the load in which connections are made.
CONNECT = 10.0


@here_or_there
def load(
    rps: Annotated[float, typer.Option(help="Arrivals per second.")] = 50,
    duration_: Annotated[
        str, typer.Option("--duration", help="How long to send load, such as 30s, 2m or 1h.")
    ] = "30s",
    scenario: Annotated[
        str,
        typer.Option(
            help=(
                "What each arrival does: view (one read), catalogue (reads by three methods in turn), "
                "browse, search, buy, follow, chat, checkout or mix."
            )
        ),
    ] = "view",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Prints rate, errors, latencies, and each replica's share of all calls and of each method.

    Fails if a call failed.
    """
    seconds = parsed(parse_duration, duration_)
    if not 0 < rps <= 2000 or not 0 < seconds <= 24 * 3600:
        raise CommandError("--rps must be in (0, 2000] and --duration at most 24h")
    summary = asyncio.run(_load(state_dir, scenario, rps, seconds))
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        show(summary)
    if summary["errors"]:
        raise typer.Exit(1)


async def _load(state_dir: Path, scenario: str, rps: float, seconds: float) -> dict[str, Any]:
    from meshmart.operator import join

    check_scenario(scenario)
    async with join(state_dir) as joined:
        report = await generate(joined.member, scenario, rps, seconds, _progress(seconds))
        return report.summary(await joined.replica_names())


def check_scenario(scenario: str) -> None:
    """Raise CommandError if there is no such scenario."""
    from services.loadgen.journeys import SCENARIOS

    if scenario not in SCENARIOS:
        raise CommandError(f"there is no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")


async def generate(
    member: "Member",
    scenario: str,
    rps: float,
    seconds: float,
    progress: "Callable[[Report], Awaitable[None]] | None" = None,
) -> "Report":
    """Generate load through the mesh.

    Args:
        member: The membership whose channels are used.
        scenario: One of `SCENARIOS`.
        rps: Arrivals per second.
        seconds: How long, without the time that it takes to connect.
        progress: Called about once a second.
    """
    from services.loadgen.engine import Load
    from services.loadgen.journeys import SCENARIOS

    journey = await SCENARIOS[scenario](member.channel)
    await _connect(member)
    return await Load(journey, rps).run(seconds, progress)


async def _connect(member: "Member") -> None:
    """Connect to the replicas of every service that the load calls, and let them warm up.

    Otherwise a replica that is connected later than the others has a smaller share of the calls, which says
    nothing about balancing. One that cannot be connected to in time is left to the load.
    """
    channels = [member.channel(target["target"]) for target in member.state()["targets"]]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECT):
            for channel in channels:
                await channel.channel_ready()
                while not _all_ready(channel.state()):  # noqa: ASYNC110 # there is no event of that
                    await asyncio.sleep(0.02)
    await asyncio.sleep(member.config.balancer.slow_start)


def _all_ready(channel: Mapping[str, Any]) -> bool:
    return all(endpoint["state"] == "ready" for endpoint in channel["endpoints"])


def _progress(seconds: float) -> Any:
    async def show_progress(report: Any) -> None:
        elapsed = report.ended - report.started
        line = f"{elapsed:4.0f} of {seconds:.0f} s: {plural(len(report.samples), 'call')}, "
        line += plural(report.errors, "error")
        if watched():
            typer.echo(f"\r{line}", err=True, nl=elapsed >= seconds)
        elif elapsed >= seconds:  # a file would get all of them on one line
            typer.echo(line, err=True)

    return show_progress


def show(summary: dict[str, Any]) -> None:
    """Print a report for a person."""
    from rich.table import Table

    latency = summary["latency_ms"]
    out = console()
    out.print(
        f"{plural(summary['calls'], 'call')}, {summary['rate']:.1f}/s, "
        f"[bold]{plural(summary['errors'], 'error')}[/], "
        f"{summary['retried']} retried; p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms, "
        f"p99 {latency['p99']:.1f} ms"
    )
    if summary["errors"]:
        out.print("by code: " + ", ".join(f"{code} {n}" for code, n in summary["codes"].items()))
    out.print(_methods(summary["methods"]))
    table = Table("replica", "address", "calls", "share")
    for target, share in summary["shares"].items():
        for name, row in share["replicas"].items():
            table.add_row(name, row["address"], str(row["calls"]), f"{row['share']:.1%}")
        spread = _spread(share)
        table.add_row(f"{target}: largest / smallest", "", "", spread, style="bold", end_section=True)
    out.print(table)
    out.print(_shares_by_method(summary["shares"]))


def _shares_by_method(shares: dict[str, Any]) -> Any:
    """Return a table with a line for each method and replica.

    Replicas that are even over all methods may be uneven for each.
    """
    from rich.table import Table

    table = Table("method", "replica", "calls", "share")
    for target, share in shares.items():
        for method, of_method in share["methods"].items():
            for name, row in of_method["replicas"].items():
                table.add_row(f"{target}/{method}", name, str(row["calls"]), f"{row['share']:.1%}")
            beyond = of_method["uneven"]
            verdict, style = (
                ("uneven beyond chance", "bold red") if beyond else ("largest / smallest", "bold")
            )
            table.add_row(
                f"{target}/{method}", verdict, "", _spread(of_method), style=style, end_section=True
            )
    return table


def _spread(share: dict[str, Any]) -> str:
    """Return the largest share over the smallest as text; "-" if a replica, or every one, got nothing."""
    spread = share["max_over_min"]
    return "-" if spread is None else f"{spread:.3f}"


def _methods(methods: dict[str, Any]) -> Any:
    """Return a table with a line for each method."""
    from rich.table import Table

    table = Table("method", "calls", "errors", "p50 ms", "p95 ms", "p99 ms")
    for name, row in methods.items():
        latency = [f"{row['latency_ms'][p]:.1f}" for p in ("p50", "p95", "p99")]
        table.add_row(name, str(row["calls"]), str(row["errors"]), *latency)
    return table
