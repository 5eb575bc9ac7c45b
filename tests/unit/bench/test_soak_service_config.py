"""The service config of a soak: valid, and what it hedges may be hedged."""

from typing import Any

import pytest
from ecommerce import chat_pb2, order_pb2, product_pb2

from bench.soak.world import SERVICE_CONFIG
from grpcmesh.call import Kind, Method
from grpcmesh.client.settings import may_hedge
from grpcmesh.service_config import ServiceConfigStore


@pytest.mark.parametrize(
    ("target", "protos"), [("product", product_pb2), ("order", order_pb2), ("chat", chat_pb2)]
)
def test_what_is_hedged_is_there_and_has_no_side_effects(target: str, protos: Any) -> None:
    store = ServiceConfigStore(inline=SERVICE_CONFIG)
    store.load()
    configs = store.effective(target).config.method_configs
    hedged = [name for config in configs if config.hedging_policy for name in config.names]
    assert hedged
    for name in hedged:
        service = protos.DESCRIPTOR.services_by_name[name.service.partition(".")[2]]
        assert name.method in service.methods_by_name
        assert may_hedge(Method(f"/{name}", name.service, name.method, Kind.UNARY)), name
