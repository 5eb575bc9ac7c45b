"""`meshmart rotate-certs`."""

import typer

from meshmart.ask import ask
from meshmart.options import DEFAULT, StateDirOption, here_or_there


@here_or_there
def rotate(state_dir: StateDirOption = DEFAULT) -> None:
    """Renews every certificate. Returns when each replica presents its new one."""
    for workload, serial in ask(state_dir, lambda cluster: cluster.rotate()).items():
        typer.echo(f"{workload:<12} serial {serial}")
