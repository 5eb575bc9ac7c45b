"""Stands in for `meshmart.toolbox run`: behaves as the first argument of its verb says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from meshmart.toolbox import RemoteVerb

CHECK = {"what": "failed calls of 7", "measured": 0, "passed": True}
OUTCOME = {"scene": "stub", "passed": True, "measured": True, "seconds": 0.1, "checks": [CHECK]}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def wait_for_the_caller() -> None:
    """Wait until standard input is closed."""
    while os.read(0, 1):
        pass


def main() -> None:
    mode, *rest = RemoteVerb.read().arguments
    match mode:
        case "pass":
            say("\nstub: shows something\n  \x1b[31mred\x1b[0m")
            print(json.dumps([OUTCOME]))
        case "play":
            say("  breaking it")
            print(f"[{rest[0]}]")
        case "fail" | "starve":
            print(json.dumps([OUTCOME | {"passed": False, "measured": mode == "fail"}]))
            sys.exit(1)
        case "nan":
            check = CHECK | {"measured": float("nan"), "passed": False}
            print(json.dumps([OUTCOME | {"passed": False, "checks": [check]}]))
        case "flood":
            for number in range(3000):
                say(f"{number} " + "x" * 2000)
            print("[" + "1," * 4_000_000 + "1]")
        case "hang":
            say("broken")
            wait_for_the_caller()
            for path in rest:
                Path(path).write_text("restored")
            say("restored")
            sys.exit(130)
        case "stubborn":
            say("broken")
            wait_for_the_caller()
            say("no")
            while True:
                signal.pause()
        case "crash":
            say("about to crash")
            os.kill(os.getpid(), signal.SIGKILL)
        case "orphan":
            # A process that holds the pipes after the verb has ended.
            subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
            print(json.dumps([OUTCOME]))


if __name__ == "__main__":
    main()
