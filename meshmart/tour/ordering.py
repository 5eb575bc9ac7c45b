"""A journey of the tour: a buyer orders once."""

import uuid

from meshmart.tour.stage import Stage
from services.loadgen.engine import Journey, Recorder
from services.loadgen.persistent import PersistentBuyer, random_cart
from services.loadgen.shop import Shop


def ordering(stage: Stage) -> Journey:
    """Return a journey that orders once, as bob.

    Any answer but CONFIRMED is an error: PENDING leaves the outcome open.
    """
    shop = Shop(stage.channels, buyers=("bob",))
    buyer = PersistentBuyer(shop, shop.buyers[0], patience=0.0)

    async def journey(recorder: Recorder) -> None:
        asked = await buyer.order(uuid.uuid4().hex, random_cart(shop.rng))
        recorder.record("order", "CreateOrder", "OK" if asked.accepted else asked.answer, None, 1)

    return journey
