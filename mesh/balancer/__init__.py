"""Which endpoint a call goes to: pure policies over those that are ready. See docs/mesh/balancer.md."""

from mesh.balancer.balancer import Balancer, Verdict
from mesh.balancer.endpoint import Endpoint, State
from mesh.balancer.orca import LOAD_KEY, LoadReport
from mesh.balancer.reporter import LoadReporter

__all__ = ["LOAD_KEY", "Balancer", "Endpoint", "LoadReport", "LoadReporter", "State", "Verdict"]
