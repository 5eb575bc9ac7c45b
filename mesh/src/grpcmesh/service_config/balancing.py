"""Reads the `loadBalancingConfig` of a service config: nested lists of policies, of which one is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from grpcmesh.service_config import reader as r
from grpcmesh.service_config.model import (
    FailurePercentageEjection,
    LoadBalancing,
    OutlierDetection,
    PolicyName,
    SuccessRateEjection,
)
from grpcmesh.service_config.reader import JsonObject, Mistake


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of a policy: its JSON name, its name in `LoadBalancing.parameters`, and its parser."""

    json: str
    name: str
    parse: Callable[[Any], Any]


def _header(value: Any) -> str:
    name = r.a_string(value)
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_."
    if not name or any(c not in allowed for c in name) or name.startswith("grpc-"):
        raise Mistake(f"must be the name of a header in lower case, is {r.shown(value)}")
    if name.endswith("-bin"):
        raise Mistake(f"must not be a binary header, is {r.shown(value)}")
    return name


#: The known policies, and their parameters.
_POLICIES: Mapping[PolicyName, tuple[_Parameter, ...]] = {
    "round_robin": (),
    "random": (),
    "least_request": (_Parameter("choiceCount", "choice_count", r.whole(2, 10)),),  # gRFC A48
    "peak_ewma": (_Parameter("decayTime", "decay_time", r.positive_duration),),
    "weighted_round_robin": (  # gRFC A58
        _Parameter("enableOobLoadReport", "enable_oob_load_report", r.a_bool),
        _Parameter("oobReportingPeriod", "oob_reporting_period", r.positive_duration),
        _Parameter("blackoutPeriod", "blackout_period", r.duration),
        _Parameter("weightExpirationPeriod", "weight_expiration_period", r.positive_duration),
        _Parameter("weightUpdatePeriod", "weight_update_period", r.positive_duration),
        _Parameter("errorUtilizationPenalty", "error_utilization_penalty", r.number(0, 1e6)),
    ),
    "ring_hash": (  # gRFC A42, A76
        _Parameter("minRingSize", "min_ring_size", r.whole(1, 8 << 20)),
        _Parameter("maxRingSize", "max_ring_size", r.whole(1, 8 << 20)),
        _Parameter("requestHashHeader", "request_hash_header", _header),
    ),
}
#: Names that gRPC gave policies before they were stable.
_ALIASES: Mapping[str, PolicyName] = {"ring_hash_experimental": "ring_hash"}
_OUTLIER_DETECTION = ("outlier_detection_experimental", "outlier_detection")
_SUBSETTING = ("random_subsetting_experimental", "random_subsetting")
_KNOWN = (*_POLICIES, _OUTLIER_DETECTION[0], _SUBSETTING[0])


def load_balancing(root: JsonObject) -> LoadBalancing | None:
    """Read `loadBalancingConfig`, or the older `loadBalancingPolicy` if only that is set."""
    old = root.take("loadBalancingPolicy", _old_name, None)
    if "loadBalancingConfig" in root:
        return _first_known(root, "loadBalancingConfig")
    return None if old is None else LoadBalancing(old)


def _old_name(value: Any) -> PolicyName:
    name = r.a_string(value).lower()
    if name not in _POLICIES:
        raise Mistake(f"{r.shown(value)} is none of {', '.join(_POLICIES)}")
    return cast(PolicyName, name)


def _first_known(o: JsonObject, name: str) -> LoadBalancing:
    """Return the first known policy of a list. Unknown ones before it may be for newer clients."""
    found: list[LoadBalancing] = []
    unknown: list[str] = []

    def read(item: JsonObject) -> None:
        fields = item.rest()
        if len(fields) != 1:
            item.report("", f"must name one policy, names {len(fields)}")
            return
        [(policy, parameters)] = fields.items()
        made = _policy(policy, JsonObject(parameters, item.place(policy), item.problems))
        if made is None:
            unknown.append(policy)
        else:
            found.append(made)

    before = len(o.problems)
    o.children(name, read)
    if not found and len(o.problems) == before:
        told = f"; {', '.join(map(repr, unknown))} is not known" if unknown else ""
        o.report(name, f"names none of {', '.join(_KNOWN)}{told}")
    return found[0] if found else LoadBalancing()


def _policy(name: str, o: JsonObject) -> LoadBalancing | None:
    made: LoadBalancing | None = None
    name = _ALIASES.get(name, name)
    if name in _POLICIES:
        made = _plain(cast(PolicyName, name), o)
    elif name in _OUTLIER_DETECTION:
        made = replace(_outlier_child(o), outlier_detection=_outlier_detection(o))
    elif name in _SUBSETTING:
        size = o.take("subsetSize", r.whole(1, 1 << 32), 1, required=True)
        made = replace(_child(o), subset_size=size)
    if made is not None:
        o.finish()
    return made


def _plain(name: PolicyName, o: JsonObject) -> LoadBalancing:
    parameters = {p.name: o.take(p.json, p.parse, None) for p in _POLICIES[name]}
    given = {key: value for key, value in parameters.items() if value is not None}
    least, most = given.get("min_ring_size", 1024), given.get("max_ring_size", 4096)
    if name == "ring_hash" and least > most:
        o.report("minRingSize", f"must not be above maxRingSize, {least} is above {most}")
    return LoadBalancing(name, given)


def _child(o: JsonObject) -> LoadBalancing:
    if not o.has("childPolicy"):
        return LoadBalancing()
    return _first_known(o, "childPolicy")


def _outlier_child(o: JsonObject) -> LoadBalancing:
    child = _child(o)
    if child.outlier_detection is not None:
        o.report("childPolicy", "has outlier detection inside outlier detection")
    return child


def _outlier_detection(o: JsonObject) -> OutlierDetection:
    d = OutlierDetection()
    return OutlierDetection(
        interval=o.take("interval", r.positive_duration, d.interval),
        base_ejection_time=o.take("baseEjectionTime", r.positive_duration, d.base_ejection_time),
        max_ejection_time=o.take("maxEjectionTime", r.positive_duration, d.max_ejection_time),
        max_ejection_percent=o.take("maxEjectionPercent", _percent, d.max_ejection_percent),
        success_rate_ejection=o.child("successRateEjection", _success_rate),
        failure_percentage_ejection=o.child("failurePercentageEjection", _failure_percentage),
        consecutive_failures=o.take("consecutiveFailures", r.whole(0, 1 << 32), d.consecutive_failures),
        stall_time=o.take("stallTime", r.duration, d.stall_time),
    )


def _success_rate(o: JsonObject) -> SuccessRateEjection:
    d = SuccessRateEjection()
    return SuccessRateEjection(
        stdev_factor=o.take("stdevFactor", r.whole(0, 1 << 32), d.stdev_factor),
        enforcement_percentage=o.take("enforcementPercentage", _percent, d.enforcement_percentage),
        minimum_hosts=o.take("minimumHosts", r.whole(0, 1 << 32), d.minimum_hosts),
        request_volume=o.take("requestVolume", r.whole(0, 1 << 32), d.request_volume),
    )


def _failure_percentage(o: JsonObject) -> FailurePercentageEjection:
    d = FailurePercentageEjection()
    return FailurePercentageEjection(
        threshold=o.take("threshold", _percent, d.threshold),
        enforcement_percentage=o.take("enforcementPercentage", _percent, d.enforcement_percentage),
        minimum_hosts=o.take("minimumHosts", r.whole(0, 1 << 32), d.minimum_hosts),
        request_volume=o.take("requestVolume", r.whole(0, 1 << 32), d.request_volume),
    )


_percent = r.whole(0, 100)
