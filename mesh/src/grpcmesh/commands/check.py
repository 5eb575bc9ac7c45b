"""`python -m grpcmesh check [TARGET…]`: what is wrong with a workload and its targets, and what to do."""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence

from grpcmesh.clock import Clock
from grpcmesh.commands import EX_CONFIG, EX_FAILED, fail, say
from grpcmesh.commands.doctor.examination import Examination, Request
from grpcmesh.commands.doctor.facts import Facts
from grpcmesh.commands.doctor.findings import Finding
from grpcmesh.commands.doctor.rules import findings
from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.identity.plaintext import refuse_beside_certificates
from grpcmesh.settings import shown
from grpcmesh.target import TargetError

_METHOD = re.compile(r"[A-Za-z_][\w.]*/[A-Za-z_]\w*", re.ASCII)
_METHOD_FORM = "[TARGET=]PACKAGE.SERVICE/METHOD"


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ, clock: Clock = time.time) -> int:
    """Print what is wrong, one line each. Return the exit status: 0 nothing, 1 something, 2 usage.

    Args:
        arguments: The command line after the verb.
        environ: Holds the variables MESH_*.
        clock: Returns unix seconds.
    """
    given = _parser().parse_args(arguments)
    try:
        config = MeshConfig.from_env(environ, service=given.service)
        if config.plaintext:
            refuse_beside_certificates(config)
        request = Request(config, given.targets, given.method, not given.client, given.timeout)
        with _broken_pipes_are_errors():
            facts = asyncio.run(Examination(request, environ, clock).collect())
    except ConfigError as e:
        return fail(e.problems, EX_CONFIG)
    except TargetError as e:
        return fail([str(e)], EX_CONFIG)
    found = findings(facts)
    _print(found, facts, as_json=given.json)
    return EX_FAILED if found else 0


@contextlib.contextmanager
def _broken_pipes_are_errors() -> Iterator[None]:
    """Ignore SIGPIPE for a while. Otherwise a peer that closes its connection early ends this process."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grpcmesh check",
        description="Look from inside a workload, with its environment, at its certificate, its process "
        "and its targets. Print what is wrong and what to do about it.",
        epilog="Exit status: 0 if nothing is wrong, 1 if something is, 2 for wrong settings or arguments.",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="a target that this workload calls")
    parser.add_argument(
        "--service", default="example", help="name of the workload, unless MESH_SERVICE is set"
    )
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        type=_method,
        metavar=_METHOD_FORM,
        help="look whether the policy of the targets, or of one, lets us call this method; it is not run. "
        "May be repeated",
    )
    parser.add_argument("--client", action="store_true", help="the workload calls only, and serves nothing")
    parser.add_argument(
        "--timeout", type=_seconds, default=5.0, help="seconds that a target may take (%(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text.rpartition("=")[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not {_METHOD_FORM}")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 60:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 60")
    return seconds


def _print(found: Sequence[Finding], facts: Facts, *, as_json: bool) -> None:
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in found]
        say(json.dumps({"findings": listed, "not_checked": facts.skipped}, indent=2))
        return
    for finding in found:
        say(shown("", str(finding)))
    for skipped in facts.skipped:
        say(f"not checked: {skipped}")
    if not found:
        say("nothing wrong was found")
