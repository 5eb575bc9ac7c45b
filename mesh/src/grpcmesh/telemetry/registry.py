"""The registry of a process. It joins sources that use the same family name independently."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


class Source(Protocol):
    """A source of metrics. It is read at scrape time, never on the path of a call."""

    def collect(self) -> Iterable[Metric]: ...


class MergedSources(Collector):
    """Joins the families of all sources, so that each name is exposed once.

    Samples with the same name and labels are added up for counters and histograms. For gauges, that of the
    last source is kept.
    """

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def describe(self) -> Iterable[Metric]:
        """Return nothing, because the families are known only at scrape time."""
        return ()

    def add(self, source: Source) -> Callable[[], None]:
        """Add a source. Return a function that removes it."""
        if source not in self._sources:
            self._sources.append(source)
        return lambda: self._sources.remove(source) if source in self._sources else None

    def collect(self) -> Iterator[Metric]:
        """Return the merged families.

        Raises:
            ValueError: Two sources use one name with different types. Raised while iterating.
        """
        families: dict[str, list[Metric]] = {}
        for source in list(self._sources):
            for family in source.collect():
                families.setdefault(family.name, []).append(family)
        return (_merge(same) if len(same) > 1 else same[0] for same in families.values())


def _merge(families: list[Metric]) -> Metric:
    first = families[0]
    merged = Metric(first.name, first.documentation, first.type)
    additive = first.type in ("counter", "histogram")
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}
    for family in families:
        if family.type != first.type:
            raise ValueError(f"metric {first.name} is both a {first.type} and a {family.type}")
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            before = samples.get(key)
            samples[key] = _sum(before, sample) if before and additive else sample
    merged.samples = list(samples.values())
    return merged


def _sum(a: Sample, b: Sample) -> Sample:
    return b._replace(value=a.value + b.value, exemplar=b.exemplar or a.exemplar)


def process_registry(sources: MergedSources) -> CollectorRegistry:
    """Return a new registry (not prometheus_client's global one) with process and platform metrics."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(sources)
    return registry
