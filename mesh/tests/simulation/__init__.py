"""A deterministic simulator: the library's own decisions, many clients and servers, virtual time.

The code that decides is the production code: `CallMachine`, `Balancer`, `Outliers`, `RetryPolicy` with its
budget, `Hedging`, `Gate`, `LoadReporter` and `Subset`. Only the network and the servers' work are simulated.
Start reading in `world`, `server` and `client`; the runs are in `scenarios`. A run with the same seed is the
same run.
"""
