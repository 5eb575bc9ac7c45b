"""`python -m grpcmesh config [TARGET…]`: the settings in force, and where each value came from."""

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence

from grpcmesh.commands import EX_CONFIG, fail, say
from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.settings import DEFAULT, Setting, of_target, settings
from grpcmesh.target import TargetError


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Print the settings. Return the exit status: 2 if they are wrong, with a line for each mistake.

    Args:
        arguments: The command line after the verb.
        environ: Holds the variables MESH_*.
    """
    given = _parser().parse_args(arguments)
    try:
        config = MeshConfig.from_env(environ, service=given.service)
        found = settings(config)
        if given.targets:
            store = ServiceConfigStore(config.service_config.file, config.service_config.inline)
            store.load()
            found = [s for target in given.targets for s in of_target(config, store, target)]
    except ConfigError as e:
        return fail(e.problems, EX_CONFIG)
    except TargetError as e:
        return fail([str(e)], EX_CONFIG)
    if given.set:
        found = [s for s in found if s.source != DEFAULT]
    _print(found, as_json=given.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grpcmesh config",
        description="Print the settings in force in this environment, and where each value came from.",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="print what holds for these targets")
    parser.add_argument(
        "--service", default="example", help="name of the workload, unless MESH_SERVICE is set"
    )
    parser.add_argument("--set", action="store_true", help="leave out defaults")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _print(found: Sequence[Setting], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps([dataclasses.asdict(s) for s in found], indent=2))
        return
    width = max((len(s.name) for s in found), default=0)
    for s in found:
        say(f"{s.name:<{width}}  {s.value or '(empty)'}  [{s.source}]")
