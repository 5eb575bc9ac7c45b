import sys
from pathlib import Path

# The benchmarks are scripts, and import each other as such.
sys.path.append(str(Path(__file__).parents[2] / "bench"))
