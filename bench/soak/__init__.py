"""An hour of random disturbances: replicas, DNS and the database fail, while the shop is under load.

    make soak [DURATION=1h] [SEED=1]
    PYTHONPATH=. python -m bench.soak [--duration 1h] [--seed 1] [--rate 3] [--out build/soak]

The pieces: `schedule` (the disturbances; pure), `injector` (performs them), `journeys` (the load,
and which journeys failed), `sampler` (memory, file descriptors and tasks of each process), `slope` (whether
they rise; pure), `verdict` (which failures and slopes break a bound; pure), `chart` (the plot).

May be imported by nothing. Start reading in `run`. See docs/soak.md.
"""
