"""Implements UserService: converts protobuf messages to the domain and back."""

from collections.abc import AsyncIterator
from dataclasses import asdict, fields
from typing import Any

from ecommerce import common_pb2
from ecommerce import user_pb2 as pb
from ecommerce.user_pb2_grpc import UserServiceServicer
from google.protobuf.empty_pb2 import Empty

from grpcmesh.auth import jwk
from grpcmesh.call import current_principal, current_workload
from grpcmesh.errors import Unauthenticated
from services.kit.caller import acting_admin, current_actor
from services.kit.intake import batch
from services.user.accounts import Accounts
from services.user.domain import Address, Profile, User
from services.user.exchanges import Exchanges
from services.user.logins import Logins
from services.user.published import Published
from services.user.recovery import Recovery
from services.user.users import EVERYBODY, MAX_BATCH, Registration, Users

#: The workload that makes calls on behalf of its own clients.
_STOREFRONT = "storefront"
_MAX_ADDRESS = 100
_ADDRESS = tuple(field.name for field in fields(Address))


class UserServicer(UserServiceServicer):
    """Converts protobuf messages and calls the use cases.

    Args:
        users, logins, accounts, recovery, exchanges: The use cases.
        published: The keys that verify tokens, and the revocations.
        issuer: The `iss` of tokens.
    """

    def __init__(
        self,
        users: Users,
        logins: Logins,
        accounts: Accounts,
        recovery: Recovery,
        exchanges: Exchanges,
        published: Published,
        issuer: str,
    ) -> None:
        self._users, self._logins, self._accounts, self._recovery = users, logins, accounts, recovery
        self._exchanges = exchanges
        self._published, self._issuer = published, issuer

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.GetUserResponse:
        return pb.GetUserResponse(user=_user(await self._users.get(current_actor(), request.id)))

    async def CreateUser(self, request: pb.CreateUserRequest, context: Any) -> pb.CreateUserResponse:
        address = _address(request.client_address, context)
        user = await self._users.register(current_actor(), _registration(request), address)
        return pb.CreateUserResponse(user=_user(user))

    async def CreateAdmin(self, request: pb.CreateUserRequest, context: Any) -> pb.CreateUserResponse:
        user = await self._users.register_admin(_registration(request))
        return pb.CreateUserResponse(user=_user(user))

    async def BatchCreateUsers(
        self, request_iterator: AsyncIterator[pb.CreateUserRequest], context: Any
    ) -> pb.BatchCreateUsersResponse:
        actor = current_actor()
        actor.require_admin()  # before anything is taken from the stream
        said = [_registration(request) for request in await batch(request_iterator, MAX_BATCH)]
        users = await self._users.register_all(actor, said)
        return pb.BatchCreateUsersResponse(users=map(_user, users), count=len(users))

    async def UpdateProfile(self, request: pb.UpdateProfileRequest, context: Any) -> pb.UpdateProfileResponse:
        address = Address(*(getattr(request.address, name) for name in _ADDRESS))
        user = await self._users.set_profile(
            current_actor(),
            request.id,
            address if request.HasField("address") else None,
            request.phone_numbers,
            request.metadata,
        )
        return pb.UpdateProfileResponse(user=_user(user))

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Any) -> pb.UpdateUserResponse:
        user = await self._users.rename(current_actor(), request.id, request.name, request.email)
        return pb.UpdateUserResponse(user=_user(user))

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Any) -> pb.DeleteUserResponse:
        if request.current_password or _from_storefront():
            address = _address(request.client_address, context)
            await self._accounts.confirm(current_actor(), request.current_password, address)
        await self._users.delete(current_actor(), request.id)
        return pb.DeleteUserResponse(success=True)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> AsyncIterator[pb.User]:
        found = await self._users.page(current_actor(), request)
        for item in EVERYBODY.items(context, found):
            yield _user(item)

    async def Login(self, request: pb.LoginRequest, context: Any) -> pb.LoginResponse:
        address = _address(request.client_address, context)
        user, tokens = await self._logins.login(request.login, request.password, address)
        return pb.LoginResponse(
            access_token=tokens.access,
            refresh_token=tokens.refresh,
            expires_in=tokens.expires_in,
            user=_user(user),
        )

    async def RefreshToken(self, request: pb.RefreshTokenRequest, context: Any) -> pb.RefreshTokenResponse:
        tokens = await self._logins.refresh(request.refresh_token)
        return pb.RefreshTokenResponse(
            access_token=tokens.access, refresh_token=tokens.refresh, expires_in=tokens.expires_in
        )

    async def ExchangeToken(self, request: pb.ExchangeTokenRequest, context: Any) -> pb.ExchangeTokenResponse:
        caller, principal = current_workload(), current_principal()
        if caller is None or principal is None:
            raise Unauthenticated("a token is needed")
        token, lifetime = self._exchanges.exchange(caller, principal, request.service)
        return pb.ExchangeTokenResponse(access_token=token, expires_in=lifetime)

    async def Logout(self, request: pb.LogoutRequest, context: Any) -> Empty:
        await self._logins.logout(request.refresh_token)
        return Empty()

    async def GetVerificationKeys(self, request: Empty, context: Any) -> pb.GetVerificationKeysResponse:
        published = await self._published.fetch()
        keys = [pb.VerificationKey(kid=kid, jwk=jwk(key, kid)) for kid, key in published.items()]
        revoked = [
            pb.Revocation(user_id=r.user_id, session=r.session, issued_until=int(r.issued_until))
            for r in self._published.revocations
        ]
        return pb.GetVerificationKeysResponse(keys=keys, issuer=self._issuer, revocations=revoked)

    async def ChangePassword(
        self, request: pb.ChangePasswordRequest, context: Any
    ) -> pb.ChangePasswordResponse:
        address = _address(request.client_address, context)
        passwords = request.current_password, request.new_password
        tokens = await self._accounts.change_password(current_actor(), *passwords, address)
        return pb.ChangePasswordResponse(
            access_token=tokens.access, refresh_token=tokens.refresh, expires_in=tokens.expires_in
        )

    async def RequestPasswordReset(self, request: pb.RequestPasswordResetRequest, context: Any) -> Empty:
        await self._recovery.request(request.login, _address(request.client_address, context))
        return Empty()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Any) -> Empty:
        address = _address(request.client_address, context)
        await self._recovery.reset(request.code, request.new_password, address)
        return Empty()

    async def SetUserStatus(self, request: pb.SetUserStatusRequest, context: Any) -> pb.SetUserStatusResponse:
        whose = acting_admin(), request.id, request.login
        user = await self._accounts.set_status(*whose, request.status, request.reason)
        return pb.SetUserStatusResponse(user=_user(user))

    async def SetUserRoles(self, request: pb.SetUserRolesRequest, context: Any) -> pb.SetUserRolesResponse:
        whose = acting_admin(), request.id, request.login
        user = await self._accounts.set_roles(*whose, request.roles, request.reason)
        return pb.SetUserRolesResponse(user=_user(user))


def _from_storefront() -> bool:
    workload = current_workload()
    return workload is not None and workload.service == _STOREFRONT


def _address(told: str, context: Any) -> str:
    """Return the client's address: the one that the storefront names, else the caller's, without the port."""
    if told and _from_storefront():
        return told[:_MAX_ADDRESS]
    return str(context.peer()).rpartition(":")[0]


def _registration(request: pb.CreateUserRequest) -> Registration:
    return Registration(request.name, request.email, request.password, request.age, request.roles)


def _user(user: User) -> pb.User:
    return pb.User(
        id=user.id,
        name=user.name,
        email=user.email,
        created_at=user.created_at,
        status=user.status,  # type: ignore[arg-type]  # the domain's numbers are the contract's
        age=user.age,
        roles=user.roles,
        profile=_profile(user, user.profile) if user.profile else None,
    )


def _profile(user: User, profile: Profile) -> pb.UserProfile:
    message = pb.UserProfile(
        id=user.id,
        name=user.name,
        email=user.email,
        address=common_pb2.Address(**asdict(profile.address)) if profile.address else None,
        phone_numbers=profile.phone_numbers,
        metadata=profile.metadata,
    )
    message.created_at.FromSeconds(profile.created_at)
    return message
