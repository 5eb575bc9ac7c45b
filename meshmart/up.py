"""`meshmart up`."""

import os
from typing import Annotated

import typer

from local.options import DEFAULT_PORT, Options, parse_count, parse_duration
from meshmart.ask import parsed
from meshmart.options import DEFAULT, StateDirOption

#: The service that makes the load, and the variable with its rate.
_LOADGEN, _LOAD = "loadgen", "MESHMART_LOAD_RPS"


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything is ready.")] = False,
    replicas: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE=NUMBER", help="Replicas of a service. Repeat it, or separate by commas."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the storefront on 127.0.0.1.")] = DEFAULT_PORT,
    state_dir: StateDirOption = DEFAULT,
    rotate_every: Annotated[str, typer.Option(help="Interval at which certificates are renewed.")] = "24h",
    load: Annotated[
        float, typer.Option(min=0, max=100, help="Journeys per second of a standing load; 0 for none.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No standing load, whatever --load says.")] = False,
) -> None:
    """Starts the shop on this machine: certificates, databases, DNS, and every service's replicas."""
    counts = [text for wish in replicas or [] for text in wish.split(",") if text]
    chosen = dict(parsed(parse_count, text) for text in counts)
    if load and not quiet:
        chosen.setdefault(_LOADGEN, 1)
        os.environ.setdefault(_LOAD, f"{load:g}")  # the supervisor passes it on
    options = Options(
        state_dir=state_dir.absolute(),
        port=port,
        replicas=chosen,
        rotate_every=parsed(parse_duration, rotate_every),
    )
    raise typer.Exit(_detached(options) if detach else _foreground(options))


def _foreground(options: Options) -> int:
    from local.main import run
    from meshmart.terminal import Terminal

    with Terminal(hint="Ctrl-C stops it") as terminal:
        return run(options, terminal.show)


def _detached(options: Options) -> int:
    """Start the supervisor as a process of its own, and show its events until all is ready."""
    from local.detach import Detached
    from meshmart.terminal import Terminal

    with Terminal(hint="meshmart down stops it") as terminal, Detached(options) as supervisor:
        return supervisor.follow(terminal.show)
