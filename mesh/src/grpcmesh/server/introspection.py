"""Adds reflection and channelz, if switched on and installed (`pip install grpcmesh[reflection]`)."""

import importlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool

from grpcmesh.call import Registrar
from grpcmesh.config import ServerConfig
from grpcmesh.server.channelz import BudgetedChannelz, leaks

_log = logging.getLogger(__name__)


def register(config: ServerConfig, services: Callable[[], Iterable[str]], server: Registrar) -> None:
    """Add the services that are switched on. If the package of one is missing, log that and leave it out.

    Args:
        config: Says which services are switched on.
        services: Returns the full names of the services that have been added.
        server: The server to add them to.
    """
    if config.channelz:
        _try(_add_channelz, "channelz", server)
    if config.reflection:
        _try(_add_reflection, "reflection", server, services)


def _try(add: Any, what: str, *arguments: Any) -> None:
    try:
        add(*arguments)
    except ModuleNotFoundError as e:
        _log.info("%s is not served: %s is not installed (grpcmesh[reflection])", what, e.name)


def _add_channelz(server: Any) -> None:
    channelz = importlib.import_module("grpc_channelz.v1.channelz")
    stubs = importlib.import_module("grpc_channelz.v1.channelz_pb2_grpc")
    servicer = channelz.aio.ChannelzServicer()
    stubs.add_ChannelzServicer_to_server(
        BudgetedChannelz(servicer) if leaks(grpc.__version__) else servicer, server
    )


def _add_reflection(server: Any, services: Callable[[], Iterable[str]]) -> None:
    reflection = importlib.import_module("grpc_reflection.v1alpha.reflection")
    stubs = importlib.import_module("grpc_reflection.v1alpha.reflection_pb2_grpc")
    names = sorted({*services(), reflection.SERVICE_NAME})
    servicer = reflection.aio.ReflectionServicer(names, pool=_Symbols(descriptor_pool.Default()))
    stubs.add_ServerReflectionServicer_to_server(servicer, server)


class _Symbols:
    """A descriptor pool that finds the file of a method, too.

    The reflection protocol asks for `package.Service.Method` as for any symbol, and ghz does. The pool of
    protobuf's upb finds only types, services, fields and extensions by `FindFileContainingSymbol`.

    Args:
        pool: The pool whose descriptors these are.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def FindFileContainingSymbol(self, name: str) -> Any:
        """Return the file that declares a symbol. Raises KeyError if there is none."""
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            return self._pool.FindMethodByName(name).containing_service.file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
