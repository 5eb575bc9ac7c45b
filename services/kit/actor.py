"""The actor of a call, as a domain sees it: only a user and its rights, without token or call."""

from dataclasses import dataclass

from grpcmesh.errors import PermissionDenied, Unauthenticated


@dataclass(frozen=True, slots=True)
class Actor:
    """A user that acts. With `user_id` 0 nobody has logged in or, if `operator` is set, the operator acts."""

    user_id: int = 0
    roles: frozenset[str] = frozenset()
    operator: bool = False

    @property
    def is_admin(self) -> bool:
        """Return whether the actor may do everything: it is an admin or the operator."""
        return self.operator or "admin" in self.roles

    def require_user(self) -> None:
        """Raise Unauthenticated if nobody has logged in."""
        if not self.user_id and not self.operator:
            raise Unauthenticated("a token is needed")

    def require_admin(self) -> None:
        """Raise Unauthenticated if nobody has logged in, and PermissionDenied unless the actor is an
        admin.
        """
        self.require_user()
        if not self.is_admin:
            raise PermissionDenied("this needs the role admin", "ROLE_REQUIRED", role="admin")

    def require_self_or_admin(self, user_id: int) -> None:
        """Raise PermissionDenied unless the actor is this user or an admin.

        Raises:
            Unauthenticated: nobody has logged in.
            PermissionDenied: the actor is another user.
        """
        self.require_user()
        if self.user_id != user_id and not self.is_admin:
            raise PermissionDenied("a user acts for itself only", "NOT_YOURS", user_id=str(user_id))
