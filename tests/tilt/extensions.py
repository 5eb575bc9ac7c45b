"""The extensions that the Tiltfile loads, by their signatures at the commit of k8s/versions.yaml."""

from typing import Any

from tests.tilt.api import Dict, Strings, _labels
from tests.tilt.session import Resource, Session, TiltError

#: What each defines.
EXPORTS = {
    "helm_resource": ["helm_resource"],
    "uibutton": ["cmd_button", "text_input", "choice_input", "location"],
}
PRELUDE = "location = struct(RESOURCE='resource', NAV='nav')\n"


class Extensions:
    """Their functions.

    Args:
        session: Takes down what is declared.
        root: The directory of the Tiltfile.
        subcommand: Buttons exist in `up` and `ci` only.
    """

    def __init__(self, session: Session, root: str, subcommand: str) -> None:
        self._session, self._root, self._subcommand = session, root, subcommand

    def helm_resource(
        self,
        name: str,
        chart: str,
        deps: list[str] = [],
        release_name: str = "",
        namespace: str | None = None,
        image_deps: list[str] | None = None,
        image_keys: list[Any] | None = None,
        flags: list[str] | None = None,
        uninstall_flags: list[str] | None = None,
        image_selector: str = "",
        container_selector: str = "",
        live_update: Any = None,
        resource_deps: list[str] | None = None,
        labels: Strings | None = None,
        port_forwards: list[Any] = [],
        auto_init: bool = True,
        pod_readiness: str = "",
        update_dependencies: bool = False,
        build_dependencies: bool = False,
        links: list[Any] = [],
    ) -> None:
        how = {"chart": chart, "namespace": namespace, "flags": flags or []}
        self._session.add(Resource(name, labels=_labels(labels or []), deps=resource_deps or [], how=how))

    def cmd_button(
        self,
        name: str,
        resource: str = "",
        argv: list[str] = [],
        text: str | None = None,
        location: str = "resource",
        icon_name: str | None = None,
        icon_svg: str | None = None,
        inputs: list[Dict] = [],
        disabled: bool = False,
        requires_confirmation: bool = False,
        env: Any = [],
        dir: str = "",
    ) -> None:
        if self._subcommand not in ("up", "ci"):
            return
        if not argv or (location == "resource") != bool(resource):
            raise TiltError(f"button {name}: it needs an argv, and a resource unless it stands in the bar")
        self._session.buttons.append(
            {
                "name": name,
                "resource": resource,
                "text": text or name,
                "argv": argv,
                "env": env,
                "inputs": inputs,
            }
        )

    def text_input(self, name: str, label: str = "", default: str = "", placeholder: str = "") -> Dict:
        return {"name": name, "label": label, "values": [default]}

    def choice_input(self, name: str, label: str = "", choices: list[str] = []) -> Dict:
        return {"name": name, "label": label, "values": choices}
