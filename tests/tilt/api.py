"""Tilt's API as far as our Tiltfile uses it, with the signatures of its documentation (0.37).

A builtin that is not here does not exist; an argument that is not named here is refused, and so is a value
of another type. helm and kustomize are the real ones.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.tilt.config import Config
from tests.tilt.session import Resource, Session, TiltError

Dict = dict[str, Any]
Step = dict[str, Any]
Strings = str | list[str]
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


class Api:
    """The builtins; a method is one. A double underscore is a dot: `os__getenv`.

    Args:
        session: Takes down what is declared.
        config: The command line.
        context: Of kubectl.
    """

    def __init__(self, session: Session, config: Config, context: str) -> None:
        self._session, self._context = session, context
        self.config__define_string = config.define_string
        self.config__define_string_list = config.define_string_list
        self.config__parse = config.parse

    # -- reading

    def read_yaml(self, path: str, default: Any = None) -> Any:
        if default is not None and not Path(path).exists():
            return default
        return yaml.safe_load(_existing(path).read_text())

    def decode_yaml_stream(self, yaml: str) -> list[Any]:
        return _documents(yaml)

    def encode_yaml_stream(self, objs: list[Any]) -> str:
        return yaml.safe_dump_all(objs)

    def os__getenv(self, key: str, default: Any = None) -> Any:
        return os.environ.get(key, default)

    def os__path__join(self, path: str, *paths: str) -> str:
        return os.path.normpath("/".join([path, *paths]))  # as Go's filepath.Join does

    def os__path__exists(self, path: str) -> bool:
        return os.path.exists(path)

    def watch_file(self, file_path: str) -> None:
        if not os.path.isabs(file_path):
            raise TiltError(f"watch_file: {file_path} is not absolute")

    def decode_json(self, json: str) -> Any:
        return yaml.safe_load(json)

    def local(
        self,
        command: Strings,
        quiet: bool = False,
        command_bat: Strings = "",
        echo_off: bool = False,
        env: dict[str, str] = {},
        dir: str = "",
        stdin: str | None = None,
    ) -> str:
        return _output(command if isinstance(command, list) else ["sh", "-c", command], dir or None)

    def k8s_context(self) -> str:
        return self._context

    # -- rendering

    def helm(
        self,
        pathToChartDir: str,
        name: str = "",
        namespace: str = "",
        values: Strings = [],
        set: Strings = [],
        kube_version: str = "",
        skip_crds: bool = False,
    ) -> str:
        _existing(pathToChartDir)
        command = ["helm", "template", name, pathToChartDir, "--include-crds", "--namespace", namespace]
        command += [f"--values={_existing(each)}" for each in _list(values)]
        command += [f"--set={each}" for each in _list(set)]
        command += [f"--kube-version={kube_version}"] if kube_version else []
        documents = _output(command).split("---\n")
        return "---\n".join(each for each in documents if not re.search(r"^# Source: .*/tests/", each, re.M))

    def kustomize(self, pathToDir: str, kustomize_bin: str | None = None, flags: list[str] = []) -> str:
        return _output([*kustomize_command(), str(_existing(pathToDir)), *flags])

    # -- Kubernetes

    def k8s_yaml(self, yaml: Strings, allow_duplicates: bool = False) -> None:
        self._session.objects += [each for text in _list(yaml) for each in _documents(text) if each]

    def k8s_resource(
        self,
        workload: str = "",
        new_name: str = "",
        port_forwards: list[Dict] = [],
        extra_pod_selectors: Dict | list[Dict] = {},
        trigger_mode: str = "",
        resource_deps: list[str] = [],
        objects: list[str] = [],
        auto_init: bool = True,
        pod_readiness: str = "",
        links: list[Dict] = [],
        labels: Strings = [],
        discovery_strategy: str = "",
    ) -> None:
        self._session.options.append(
            {
                "workload": workload,
                "new_name": new_name,
                "port_forwards": port_forwards,
                "resource_deps": resource_deps,
                "objects": [each.lower() for each in objects],
                "links": links,
                "labels": _labels(labels),
                "trigger_mode": trigger_mode,
            }
        )

    def port_forward(
        self,
        local_port: int,
        container_port: int | None = None,
        name: str | None = None,
        link_path: str | None = None,
        host: str | None = None,
    ) -> Dict:
        return {"local": local_port, "container": container_port, "name": name, "path": link_path or "/"}

    def allow_k8s_contexts(self, contexts: Strings) -> None:
        self._session.settings["allow_k8s_contexts"] = {"contexts": _list(contexts)}

    # -- images

    def docker_build(
        self,
        ref: str,
        context: str,
        build_args: dict[str, str] = {},
        dockerfile: str = "Dockerfile",
        dockerfile_contents: str = "",
        live_update: list[Step] = [],
        match_in_env_vars: bool = False,
        ignore: Strings = [],
        only: Strings = [],
        entrypoint: Strings = [],
        target: str = "",
        ssh: Strings = "",
        network: str = "",
        secret: Strings = "",
        extra_tag: Strings = "",
        container_args: list[str] | None = None,
        cache_from: Strings = [],
        pull: bool = False,
        platform: str = "",
        extra_hosts: Strings = [],
    ) -> None:
        if "fall_back_on" in [each["step"] for each in live_update[1:]]:
            raise TiltError("live_update: fall_back_on must be the first step")
        self._session.builds.append(
            {
                "ref": ref,
                "context": str(_existing(context)),
                "dockerfile": str(_existing(os.path.join(context, dockerfile))),
                "target": target,
                "only": [str(_existing(os.path.join(context, each))) for each in _list(only)],
                "entrypoint": _list(entrypoint),
                "live_update": live_update,
            }
        )

    def sync(self, local_path: str, remote_path: str) -> Step:
        if not remote_path.startswith("/"):
            raise TiltError(f"sync: {remote_path} is not absolute")
        return {"step": "sync", "local": str(_existing(local_path)), "remote": remote_path}

    def run(self, cmd: Strings, trigger: Strings = [], echo_off: bool = False) -> Step:
        return {"step": "run", "cmd": cmd}

    def fall_back_on(self, files: Strings) -> Step:
        return {"step": "fall_back_on", "files": [str(_existing(each)) for each in _list(files)]}

    # -- everything else

    def local_resource(
        self,
        name: str,
        cmd: Strings = "",
        deps: Strings | None = None,
        trigger_mode: str = "",
        resource_deps: list[str] = [],
        ignore: Strings = [],
        auto_init: bool = True,
        serve_cmd: Strings = "",
        cmd_bat: Strings = "",
        serve_cmd_bat: Strings = "",
        allow_parallel: bool = False,
        links: list[Dict] = [],
        labels: Strings = [],
        env: dict[str, str] = {},
        serve_env: dict[str, str] = {},
        readiness_probe: Dict | None = None,
        dir: str = "",
        serve_dir: str = "",
    ) -> None:
        for each in _list(deps or []):
            _existing(each)
        how = {"cmd": cmd, "auto_init": auto_init, "trigger_mode": trigger_mode}
        self._session.add(Resource(name, labels=_labels(labels), deps=resource_deps, how=how))

    def update_settings(
        self,
        max_parallel_updates: int = 3,
        k8s_upsert_timeout_secs: int = 30,
        suppress_unused_image_warnings: Strings | None = None,
        k8s_server_side_apply: str = "auto",
    ) -> None:
        self._session.settings["update"] = {"parallel": max_parallel_updates}

    def ci_settings(
        self, k8s_grace_period: str = "", timeout: str = "30m", readiness_timeout: str = "5m"
    ) -> None:
        self._session.settings["ci"] = {"timeout": timeout, "readiness": readiness_timeout}

    def config__set_enabled_resources(self, resources: list[str]) -> None:
        self._session.enabled = resources

    def v1alpha1__extension_repo(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        url: str = "",
        ref: str = "",
    ) -> None:
        self._session.extension_repo = {"name": name, "url": url, "ref": ref}


def kustomize_command() -> list[str]:
    """A real kustomize: its own program, or the one in kubectl, as Tilt chooses."""
    return ["kustomize", "build"] if _installed("kustomize") else ["kubectl", "kustomize"]


def _installed(program: str) -> bool:
    return any(os.access(os.path.join(each, program), os.X_OK) for each in os.get_exec_path())


def _output(command: list[str], directory: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode:
        raise TiltError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _documents(text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _list(value: Strings) -> list[str]:
    return ([value] if value else []) if isinstance(value, str) else value


def _labels(labels: Strings) -> list[str]:
    for each in _list(labels):
        if not _LABEL.fullmatch(each):
            raise TiltError(f"{each!r} is not a label")
    return list(_list(labels))


def _existing(path: str) -> Path:
    """The path, which must be absolute: where a function was called from should not matter."""
    if not os.path.isabs(path) or not os.path.exists(path):
        raise TiltError(f"{path}: not an absolute path of something that exists")
    return Path(path)
