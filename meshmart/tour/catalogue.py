"""The names of the scenes, in the order in which they are played, and what each shows.

It imports nothing, so that the console can list the scenes without what they need.
"""

from collections.abc import Mapping

CATALOGUE: Mapping[str, str] = {
    "balance": "3 replicas of product share 100 calls a second; each answers a third, of every method",
    "scale-up": (
        "a third replica of product joins under load; soon after it is ready it has its share of every method"
    ),
    "rolling-restart": (
        "every replica of product and order is replaced while buyers browse and buy; the new ones share both"
    ),
    "kill": (
        "one of 3 replicas of product is killed (kill -9) with calls in flight; no idempotent call fails"
    ),
    "sick-replica": (
        "a replica of product fails every call, with green probes; its callers eject it until it is well"
    ),
    "slow-dependency": (
        "the notification service hangs; orders go through, and their notifications come later"
    ),
    "overload": (
        "product gets 3 times the reads that it can serve; it refuses the excess at once, "
        "and serves orders first"
    ),
    "retry-storm": (
        "every replica of product fails every call; retries add no more load than their budget allows"
    ),
    "rotate-certs": (
        "every certificate is renewed under load; both sides present the new one and no call fails"
    ),
    "intruder": (
        "no certificate, a foreign CA, an old TLS, a wrong workload, a wrong server: refused and counted"
    ),
    "streams": (
        "orders and a chat room are followed while order and chat are restarted; nothing is lost or doubled"
    ),
    "no-lost-orders": (
        "a replica of each service is killed, one every 2 s; each accepted order is there once, paid once"
    ),
}
