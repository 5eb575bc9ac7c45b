"""`python -m grpcmesh VERB …`: the library's commands. Each verb is a module of `grpcmesh.commands`."""

import importlib
import signal
import sys
from collections.abc import Mapping, Sequence

#: What each verb does. Its module has `main(arguments) -> exit status`.
VERBS: Mapping[str, str] = {
    "ca": "makes certificates for development, with a CA of their own",
    "check": "says what is wrong with a workload and its targets, and what to do about it",
    "config": "prints the settings in force, and where each value came from",
}


def main(arguments: Sequence[str]) -> int:
    """Run a verb. Return the exit status: 2 for a wrong command line, as of argparse."""
    verb, *rest = arguments or ["--help"]
    if verb in VERBS:
        status: int = importlib.import_module(f"grpcmesh.commands.{verb}").main(rest)
        return status
    listed = "\n".join(f"  {name:<8} {text}" for name, text in VERBS.items())
    usage = f"usage: python -m grpcmesh VERB …\n\n{listed}\n\npython -m grpcmesh VERB --help says more.\n"
    known = verb in ("-h", "--help")
    (sys.stdout if known else sys.stderr).write(usage if known else f"{verb!r} is no verb\n{usage}")
    return 0 if known else 2


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `… | head` ends it without a stack
    sys.exit(main(sys.argv[1:]))
