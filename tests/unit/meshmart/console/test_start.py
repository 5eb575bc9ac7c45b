"""What the console loads when it starts."""

import subprocess
import sys


def test_a_console_that_is_only_looked_at_does_not_load_grpc() -> None:
    program = "import sys, meshmart.console.server; print('grpc' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert told.stdout == "False\n", told.stderr
