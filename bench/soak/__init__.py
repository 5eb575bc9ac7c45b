"""An hour of random weather: the shop on PostgreSQL under load, while its replicas, DNS and database fail.

    make soak [DURATION=1h] [SEED=1]
    PYTHONPATH=. python -m bench.soak [--duration 1h] [--seed 1] [--rate 3] [--out build/soak]

The pieces: `forecast` (which weather comes when; pure), `storm` (makes the weather), `journeys` (the load,
and which journeys failed), `sampler` (memory, file descriptors and tasks of each process), `slope` (whether
they rise; pure), `verdict` (which failures and slopes break a bound; pure), `chart` (the plot). See
docs/soak.md.
"""
