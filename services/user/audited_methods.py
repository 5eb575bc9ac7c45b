"""The methods of UserService that are written to the audit log: what admins and the operator do to users."""

from collections.abc import Mapping
from typing import Any

from ecommerce import user_pb2 as pb

from services.kit.audit import AuditedMethod


def _id(request: Any) -> int:
    return int(request.id)


def _to_others(request: Any, admin: int) -> bool:
    return bool(request.id != admin)


def _status(request: pb.SetUserStatusRequest) -> str:
    known = request.status in pb.UserStatus.values()
    name = pb.UserStatus.Name(request.status).removeprefix("USER_STATUS_") if known else str(request.status)
    return f"{name}: {request.reason}" if request.reason else name


def _roles(request: Any) -> str:
    told = ", ".join(request.roles)
    return f"{told}: {request.reason}" if getattr(request, "reason", "") else told


AUDITED: Mapping[str, AuditedMethod] = {
    "CreateUser": AuditedMethod("user", detail=_roles),
    "CreateAdmin": AuditedMethod("user"),
    "BatchCreateUsers": AuditedMethod("user"),
    "UpdateUser": AuditedMethod("user", _id, lambda request: "name, email", _to_others),
    "UpdateProfile": AuditedMethod("user", _id, applies=_to_others),
    "DeleteUser": AuditedMethod("user", _id, applies=_to_others),
    # If the request names a login, the target is the user that was found.
    "SetUserStatus": AuditedMethod("user", _id, _status),
    "SetUserRoles": AuditedMethod("user", _id, _roles),
}
