"""`meshmart status`."""

import asyncio
import json
from typing import Annotated, Any

import typer

from local.catalog import NAMESPACE
from meshmart.ask import ask
from meshmart.options import DEFAULT, ContextOption, NamespaceOption, StateDirOption
from meshmart.output import console


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    state_dir: StateDirOption = DEFAULT,
    context: ContextOption = "",
    namespace: NamespaceOption = NAMESPACE,
) -> None:
    """Shows every replica: its address, whether it is ready, and how often it restarted."""
    if context:
        told = asyncio.run(_of_context(context, namespace))
    else:
        told = ask(state_dir, lambda cluster: cluster.status())
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(told)


async def _of_context(context: str, namespace: str) -> dict[str, Any]:
    """Return the status from the Kubernetes API itself, which also works without the toolbox."""
    from meshmart.kubernetes.api import Api
    from meshmart.kubernetes.cluster import KubernetesCluster

    async with await Api.of_context(context, namespace) as api:
        return await KubernetesCluster(api).status()


def _show(told: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("replica", "address", "ready", "restarts", box=None, pad_edge=False)
    table.add_column("process or pod", overflow="fold")
    for service, about in told["services"].items():
        for replica in about["replicas"]:
            table.add_row(*_row(service, replica))
        if not about["replicas"]:
            table.add_row(service, "", "no replicas")
    out = console()
    for name in ("storefront", "console", "traces", "prometheus", "dns"):
        out.print(f"{name:<11} {told.get(name) or '-'}", soft_wrap=True)
    out.print()
    out.print(table)


def _row(service: str, replica: dict[str, Any]) -> list[str]:
    return [
        f"{service}/{replica['id']}",
        f"{replica['address']}:{replica['port']}",
        "[green]yes[/]" if replica["ready"] else "[red]no[/]",
        str(replica["restarts"]),
        str(replica.get("pod") or replica["pid"] or "-"),
    ]
