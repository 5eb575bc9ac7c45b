"""A model of which connection carries an endpoint's calls: docs/calls.md over the fake wire."""

from dataclasses import dataclass, field

from tests.unit.stateful.wire import FakeChannel, Wire


@dataclass
class Slot:
    """The connections of one address: the one in use, and the one that is to take over."""

    current: FakeChannel
    renewed: FakeChannel | None = None


@dataclass
class GivenUp:
    """A connection that gets no more calls. `since`: when its address left, or None if it was replaced."""

    channel: FakeChannel
    since: float | None = None


@dataclass
class Connections:
    """The expected connections, updated from the wire whenever everything has settled."""

    wire: Wire
    #: The resolved addresses.
    wanted: set[str] = field(default_factory=set)
    slots: dict[str, Slot] = field(default_factory=dict)
    given_up: list[GivenUp] = field(default_factory=list)
    _known: int = 0

    def update(self, now: float) -> None:
        """Take in what has happened since the last time."""
        for channel in self.wire.channels[self._known :]:
            self._opened(channel)
        self._known = len(self.wire.channels)
        for address, slot in list(self.slots.items()):
            self._swap(slot)
            if address not in self.wanted:
                self.given_up += [
                    GivenUp(channel, now) for channel in (slot.current, slot.renewed) if channel is not None
                ]
                del self.slots[address]

    def ready(self) -> set[str]:
        """Return the addresses whose connection in use is connected."""
        return {address for address, slot in self.slots.items() if slot.current.ready}

    def _opened(self, channel: FakeChannel) -> None:
        slot = self.slots.get(channel.address)
        if slot is None:
            self.slots[channel.address] = Slot(channel)
            return
        if slot.renewed is not None:
            self.given_up.append(GivenUp(slot.renewed))
        slot.renewed = channel
        self._swap(slot)

    def _swap(self, slot: Slot) -> None:
        """Switch to the new connection once it is connected, or once the old one no longer is."""
        if slot.renewed is not None and (slot.renewed.ready or not slot.current.ready):
            self.given_up.append(GivenUp(slot.current))
            slot.current, slot.renewed = slot.renewed, None
