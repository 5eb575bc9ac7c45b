"""Options that several verbs share."""

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from local.catalog import NAMESPACE
from local.options import DEFAULT_STATE_DIR

StateDirOption = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="MESHMART_STATE_DIR",
        help="Directory with the cluster's data, certificates, logs and socket.",
        show_default=True,
    ),
]
DEFAULT = DEFAULT_STATE_DIR

ContextOption = Annotated[
    str,
    typer.Option(
        "--context", help="Run on the Kubernetes cluster of this kubeconfig context, not on this machine."
    ),
]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", help="Namespace of the Helm release; used with --context.")
]


def here_or_there(verb: Callable[..., None]) -> Callable[..., None]:
    """Add `--context` and `--namespace` to a verb.

    With a context, the verb runs in the toolbox of that Kubernetes with the same arguments, and this command
    exits with its status.
    """

    @functools.wraps(verb)
    def either(*, context: str, namespace: str, **arguments: Any) -> None:
        if not context:
            return verb(**arguments)
        from meshmart.kubernetes.bridge import run

        raise typer.Exit(run(context, namespace, without_place(sys.argv[1:])))

    place = {"context": (ContextOption, ""), "namespace": (NamespaceOption, NAMESPACE)}
    signature = inspect.signature(verb, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in place.items()
    ]
    either.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *more]
    )
    either.__annotations__ = verb.__annotations__ | {name: each[0] for name, each in place.items()}
    return either


def without_place(arguments: Sequence[str]) -> list[str]:
    """Return a command line without `--context` and `--namespace`."""
    kept, rest = list[str](), iter(arguments)
    for word in rest:
        if word == "--":
            return [*kept, word, *rest]
        option, separator, _ = word.partition("=")
        if option not in ("--context", "--namespace"):
            kept.append(word)
        elif not separator:
            next(rest, "")
    return kept
