"""The verbs of the `meshmart` command. Each is a file with one function, registered here."""

import typer

from meshmart import (
    admin,
    audit,
    call,
    check,
    down,
    fault,
    kill,
    load,
    logs,
    new,
    redeliver,
    remove,
    restart,
    rotate,
    scale,
    status,
    token,
    up,
)
from meshmart.lessons import command as lessons
from meshmart.tour import command as tour

app = typer.Typer(
    help="A proxyless gRPC service mesh for Python, and the shop that runs on it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # frames around the help cost a quarter of a second
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Verbs import what is heavy (grpc, SQLAlchemy, cryptography) inside their functions: `--help` stays quick.
app.command("up")(up.up)
app.command("down")(down.down)
app.command("status")(status.status)
app.command("check")(check.check)
app.command("logs")(logs.logs)
app.command("scale")(scale.scale)
app.command("restart")(restart.restart)
app.command("kill")(kill.kill)
app.command("rotate-certs")(rotate.rotate)
app.add_typer(fault.app, name="fault")
app.add_typer(admin.app, name="admin")
app.command("load")(load.load)
app.command("audit")(audit.audit)
app.command("redeliver")(redeliver.redeliver)
app.command("tour")(tour.tour)
app.command("lesson")(lessons.lesson)
app.command("token")(token.token)
app.command("call")(call.call)
app.add_typer(new.app, name="new")
app.add_typer(remove.app, name="remove")
