"""Who acts, as a domain sees it: no token, no call, only a user and what it may."""

from dataclasses import dataclass

from grpcmesh.errors import PermissionDenied, Unauthenticated


@dataclass(frozen=True, slots=True)
class Actor:
    """A user that acts. `user_id` 0: nobody has logged in, or (`operator`) the operator acts."""

    user_id: int = 0
    roles: frozenset[str] = frozenset()
    operator: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything: an admin, or the operator."""
        return self.operator or "admin" in self.roles

    def require_user(self) -> None:
        """Raises Unauthenticated where nobody has logged in."""
        if not self.user_id and not self.operator:
            raise Unauthenticated("a token is needed")

    def require_admin(self) -> None:
        """Raises PermissionDenied unless the actor is an admin."""
        self.require_user()
        if not self.is_admin:
            raise PermissionDenied("this needs the role admin", "ROLE_REQUIRED", role="admin")

    def require_self_or_admin(self, user_id: int) -> None:
        """Raises PermissionDenied where somebody else's things are asked for: a user acts for itself."""
        self.require_user()
        if self.user_id != user_id and not self.is_admin:
            raise PermissionDenied("a user acts for itself only", "NOT_YOURS", user_id=str(user_id))
