"""`meshmart check`: says what is wrong with the shop, and what to do about it."""

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from local.catalog import NAMESPACE
from local.words import plural
from meshmart.errors import CommandError
from meshmart.options import DEFAULT, ContextOption, NamespaceOption, StateDirOption
from meshmart.running import VARIABLE

if TYPE_CHECKING:
    from meshmart.doctor.examination import Request, Shop
    from meshmart.doctor.findings import Report


def check(
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE]...", help="Look from inside these services only, such as order."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds that a target may take.", min=0.1, max=60, show_default=True)
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    state_dir: StateDirOption = DEFAULT,
    context: ContextOption = "",
    namespace: NamespaceOption = NAMESPACE,
) -> None:
    """Says what is wrong with the shop and what to do about it, one line for each cause.

    Looks from inside every replica, with its certificate and its settings, at the replica itself and at the
    services that it calls (python -m grpcmesh check). It changes nothing, and runs no method. Fails if
    anything is wrong.
    """
    from meshmart.doctor.examination import Request

    report = asyncio.run(_report(Request(services or (), timeout), state_dir, context, namespace))
    if as_json:
        typer.echo(json.dumps(_as_dict(report), indent=2))
    else:
        _show(report)
    if report.findings:
        raise typer.Exit(1)


async def _report(request: "Request", state_dir: Path, context: str, namespace: str) -> "Report":
    if not context:
        if os.environ.get(VARIABLE, "embedded") != "embedded":
            raise CommandError("the toolbox may not exec into pods: use `meshmart check --context NAME`")
        from meshmart.doctor.embedded import EmbeddedShop

        return await _examined(EmbeddedShop(state_dir), request)
    from meshmart.kubernetes.api import Api
    from meshmart.kubernetes.shop import KubernetesShop

    async with await Api.of_context(context, namespace) as api:
        return await _examined(KubernetesShop(api), request)


async def _examined(shop: "Shop", request: "Request") -> "Report":
    from meshmart.doctor.calls import of_the_shop
    from meshmart.doctor.examination import Examination

    return await Examination(shop, of_the_shop(), request).report()


def _as_dict(report: "Report") -> dict[str, object]:
    return {
        "workloads": list(report.workloads),
        "findings": [each.as_dict() for each in report.findings],
        "denials": [each.as_dict() for each in report.denials],
        "not_checked": list(report.not_checked),
    }


def _show(report: "Report") -> None:
    for each in report.findings:
        typer.echo(str(each))
    for each in report.denials:
        typer.echo(f"for information: {each.finding.problem} (by {', '.join(each.seen_from)})")
    for line in report.not_checked:
        typer.echo(f"not checked: {line}")
    if not report.findings:
        typer.echo(f"nothing wrong was found from inside {plural(len(report.workloads), 'replica')}")
