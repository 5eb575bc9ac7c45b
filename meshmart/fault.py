"""`meshmart fault set | list | clear`: injects faults into replicas, and clears them."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from local.errors import ClusterError
from local.options import parse_duration
from meshmart.ask import parsed
from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there

if TYPE_CHECKING:
    from meshmart.replicas import Act, Outcome

T = TypeVar("T")

app = typer.Typer(
    help="Inject faults into replicas: delays, errors, hangs. A restart clears a replica's faults.",
    no_args_is_help=True,
)

#: The duration of a fault that nobody clears: the command does not run on to renew a lease.
FOR = "1h"
HEAD = ("replica", "method", "delay", "abort", "share", "ends in", "hits", "held")

ServiceArgument = Annotated[str, typer.Argument(help="Service, such as product; all services if omitted.")]
MethodOption = Annotated[str, typer.Option(help="Method, such as GetProduct; all methods if omitted.")]
ReplicaOption = Annotated[int, typer.Option(help="Number of one replica; 0: all replicas.", min=0)]


@app.command("set")
@here_or_there
def set_(
    service: Annotated[str, typer.Argument(help="Service, such as product.")],
    method: MethodOption = "",
    delay: Annotated[
        str, typer.Option(help="Delay each call by this long, such as 300ms; 1h is a hang.")
    ] = "0s",
    abort: Annotated[str, typer.Option(help="Fail calls with this status code, such as UNAVAILABLE.")] = "",
    concurrency: Annotated[
        int, typer.Option(help="Delay this many calls at a time, the others after them; 0: all.", min=0)
    ] = 0,
    share: Annotated[
        float, typer.Option(help="Fraction of the calls to affect, from 0 to 1.", min=0, max=1)
    ] = 1.0,
    replica: ReplicaOption = 0,
    lasts: Annotated[
        str, typer.Option("--for", help="Clear the fault after this long, at most 24h.", show_default=True)
    ] = FOR,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Sets a fault on the present replicas of a service. It replaces the fault that the method had."""
    from grpcmesh.fault import Fault
    from meshmart.faults import pattern, set_fault

    seconds, ends = _seconds(delay), _seconds(lasts)
    if not seconds and not abort:
        raise CommandError("a fault needs --delay, --abort, or both")
    fault = Fault(pattern(service, method), share, seconds, abort.upper(), concurrency)
    outcome = _each(state_dir, [service], replica, lambda m, s, r: set_fault(m, s, r, fault, ends))
    if not outcome:
        raise CommandError(f"{service} has no replicas, so no fault was set")
    _tell(outcome, lambda _: f"{fault.method}: {fault}")


@app.command("list")
@here_or_there
def list_(
    service: ServiceArgument = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Shows the faults that are set, and how many calls each has affected."""
    from meshmart.faults import list_faults, services_with_methods

    outcome = _each(state_dir, services_with_methods(service), 0, list_faults)
    rows = [
        _row(s, r.id, fault) for s, r, told in outcome if not isinstance(told, ClusterError) for fault in told
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        _show(rows)
    elif _all_told(outcome):
        typer.echo("no faults are set")
    _tell(outcome)


@app.command("clear")
@here_or_there
def clear(
    service: ServiceArgument = "",
    method: MethodOption = "",
    replica: ReplicaOption = 0,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Clears faults. Calls that they hold are served at once."""
    from meshmart.faults import clear_faults, pattern, services_with_methods

    wanted, services = pattern(service, method) if method else "", services_with_methods(service)
    outcome = _each(state_dir, services, replica, lambda m, s, r: clear_faults(m, s, r, wanted))
    changed = [o for o in outcome if o[2] != 0]
    if not changed:
        typer.echo("no faults were set")
    _tell(changed, lambda count: f"{count} cleared")


def _each(state_dir: Path, services: Sequence[str], number: int, act: "Act[T]") -> "Outcome[T]":
    return asyncio.run(_on_each(state_dir, services, number, act))


async def _on_each(state_dir: Path, services: Sequence[str], number: int, act: "Act[T]") -> "Outcome[T]":
    from meshmart.operator import join
    from meshmart.replicas import on_each

    async with join(state_dir) as joined:
        return await on_each(joined.member, joined.cluster, services, number, act)


def _tell(outcome: "Outcome[T]", say: Callable[[T], str] | None = None) -> None:
    """Print a line for each replica. Failures go to standard error, and make the exit status 1."""
    failed = False
    for service, replica, result in outcome:
        if isinstance(result, ClusterError):
            failed = True
            sys.stderr.write(f"meshmart: {result}\n")
        elif say is not None:
            typer.echo(f"{service}/{replica.id}  {say(result)}")
    if failed:
        raise typer.Exit(1)


def _all_told(outcome: "Outcome[T]") -> bool:
    return not any(isinstance(result, ClusterError) for *_, result in outcome)


def _seconds(text: str) -> float:
    seconds = parsed(parse_duration, text)
    if not 0 <= seconds <= 86_400:
        raise CommandError(f"{text!r} is not between 0 and 24h")
    return seconds


def _row(service: str, number: int, active: Any) -> dict[str, Any]:
    fault = active.fault
    return {
        "service": service,
        "replica": number,
        "method": fault.method,
        "delay": fault.delay.ToNanoseconds() / 1e9,
        "abort": fault.abort,
        "concurrency": fault.concurrency,
        "share": fault.share,
        "remaining": active.remaining.ToNanoseconds() / 1e9 if active.HasField("remaining") else None,
        "hits": active.hits,
        "held": active.held,
        "set_by": active.set_by,
    }


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = [HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        typer.echo("  ".join(map(str.ljust, line, widths)).rstrip())


def _delay(row: dict[str, Any]) -> str:
    delay = f"{row['delay']:g} s" if row["delay"] else "-"
    return f"{delay}, {row['concurrency']} at a time" if row["concurrency"] else delay


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['service']}/{row['replica']}",
        row["method"],
        _delay(row),
        row["abort"] or "-",
        f"{row['share']:g}",
        "-" if row["remaining"] is None else f"{row['remaining']:.0f} s",
        str(row["hits"]),
        str(row["held"]),
    )
