"""What the chart uses of custom resources, pinned by hand from their published API references.

cert-manager.io/v1 (cert-manager 1.21) and monitoring.coreos.com/v1 (Prometheus Operator 0.85). Stricter
than the CRDs: a field that the chart does not use is refused, so that a typo in one is.
"""

from typing import Any

_DURATION = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"}
_TEXT = {"type": "string", "minLength": 1}
_LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
_ISSUER_REF = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "kind", "group"],
    "properties": {"name": _TEXT, "kind": _TEXT, "group": _TEXT},
}
_SELECTOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["matchLabels"],
    "properties": {"matchLabels": _LABELS},
}
_USAGES = ["digital signature", "server auth", "client auth", "cert sign", "crl sign"]
_RELABELINGS = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "sourceLabels": {
                "type": "array",
                "items": {"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
            },
            "targetLabel": _TEXT,
            "replacement": _TEXT,
            "regex": _TEXT,
            "action": {"enum": ["replace", "keep", "drop", "labelmap", "labeldrop"]},
        },
    },
}
_ENDPOINTS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["port"],
        "properties": {"port": _TEXT, "interval": _DURATION, "relabelings": _RELABELINGS},
    },
}


def _object(api_version: str, kind: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    spec = {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }
    metadata = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "namespace", "labels"],
        "properties": {"name": _TEXT, "namespace": _TEXT, "labels": _LABELS, "annotations": _LABELS},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": api_version},
            "kind": {"const": kind},
            "metadata": metadata,
            "spec": spec,
        },
    }


_CERTIFICATE = {
    "isCA": {"type": "boolean"},
    "commonName": {"type": "string", "maxLength": 64},
    "subject": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"organizations": {"type": "array", "items": _TEXT}},
    },
    "secretName": _TEXT,
    "secretTemplate": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"labels": _LABELS, "annotations": _LABELS},
    },
    "duration": _DURATION,
    "renewBefore": _DURATION,
    "revisionHistoryLimit": {"type": "integer", "minimum": 1},
    "privateKey": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "algorithm": {"const": "ECDSA"},
            "size": {"const": 256},
            "encoding": {"const": "PKCS8"},
            "rotationPolicy": {"enum": ["Always", "Never"]},
        },
    },
    "dnsNames": {"type": "array", "items": _TEXT},
    "uris": {"type": "array", "items": _TEXT},
    "usages": {"type": "array", "items": {"enum": _USAGES}},
    "issuerRef": _ISSUER_REF,
}
_ISSUER = {
    "selfSigned": {"type": "object", "maxProperties": 0},
    "ca": {
        "type": "object",
        "additionalProperties": False,
        "required": ["secretName"],
        "properties": {"secretName": _TEXT},
    },
}
_RULE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["expr"],
    "oneOf": [{"required": ["record"]}, {"required": ["alert"]}],
    "properties": {
        "record": _TEXT,
        "alert": _TEXT,
        "expr": {"type": ["string", "integer"]},
        "for": _DURATION,
        "keep_firing_for": _DURATION,
        "labels": _LABELS,
        "annotations": _LABELS,
    },
}
_GROUP = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "rules"],
    "properties": {
        "name": _TEXT,
        "interval": _DURATION,
        "rules": {"type": "array", "items": _RULE},
    },
}

_CM, _PO = "cert-manager.io/v1", "monitoring.coreos.com/v1"
#: Schema by apiVersion and kind.
CRDS: dict[tuple[str, str], dict[str, Any]] = {
    (_CM, "Certificate"): _object(_CM, "Certificate", _CERTIFICATE, ["secretName", "issuerRef"]),
    (_CM, "Issuer"): _object(_CM, "Issuer", _ISSUER, []),
    (_PO, "PodMonitor"): _object(
        _PO,
        "PodMonitor",
        {"selector": _SELECTOR, "podMetricsEndpoints": _ENDPOINTS},
        ["selector", "podMetricsEndpoints"],
    ),
    (_PO, "ServiceMonitor"): _object(
        _PO, "ServiceMonitor", {"selector": _SELECTOR, "endpoints": _ENDPOINTS}, ["selector", "endpoints"]
    ),
    (_PO, "PrometheusRule"): _object(
        _PO, "PrometheusRule", {"groups": {"type": "array", "items": _GROUP}}, ["groups"]
    ),
}
