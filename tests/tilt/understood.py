"""Whether the meshmart command would take a command line."""

from typing import Any

import typer.main

from meshmart.verbs import app


def understood(arguments: list[str]) -> None:
    """Parses a command line as meshmart does, down to the last subcommand, and runs nothing.

    Raises:
        click.UsageError: meshmart would refuse it.
    """
    command: Any = typer.main.get_command(app)
    context = command.make_context("meshmart", list(arguments))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
