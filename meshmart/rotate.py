"""`meshmart rotate-certs`."""

import typer

from meshmart.ask import ask
from meshmart.options import DEFAULT, StateDirOption


def rotate(state_dir: StateDirOption = DEFAULT) -> None:
    """Renews every certificate; returns when each replica presents its new one."""
    serials: dict[str, str] = ask(state_dir, "rotate")
    for workload, serial in serials.items():
        typer.echo(f"{workload:<12} serial {serial}")
