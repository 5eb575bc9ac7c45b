"""Every fenced block of docs/*.md and README.md runs, and shows what it prints.

The blocks of a page run in order, in one shell, in a folder of their own with the files of examples/hello:

- `sh`: every command succeeds. `&` leaves a server running, and the next block waits until it serves.
- `console`: the commands after `$ ` print what is shown.
- `python`: a program that runs, or that serves a call and drains. A `text` block below it is what it prints.
- with `title="NAME"`: the block is written to that file, which other blocks of the page use.
- `json` is a service config, `toml` a policy or a settings file.

A comment before a block says who else runs it, or why nobody does: NOT_HERE has all of these.
"""

import shutil
import time
import tomllib
from pathlib import Path

import pytest

from grpcmesh.authz.policy import Policy
from grpcmesh.config import MeshConfig
from grpcmesh.service_config.sources import read_document
from tests import docskit
from tests.docskit import Block, Session

HELLO = docskit.MESH / "examples" / "hello"
#: Pages whose reader starts in an empty folder.
FROM_NOTHING = {"docs/getting-started.md"}
#: Blocks that this module does not run: a comment, and on which pages how many blocks have it.
NOT_HERE = {
    "run by tests/conformance/test_tools.py": {"docs/health.md": 1, "docs/tools.md": 4},
    "not run: needs the shop of the repository": {
        "docs/fault.md": 1, "docs/identity.md": 1, "docs/telemetry.md": 1, "docs/user-auth.md": 1,
    },
    "run by tests/unit/test_library_on_kubernetes.py": {"docs/kubernetes.md": 4},
    "not run: needs SPIRE": {"docs/identity.md": 1},
    "not run: the code of another project": {"docs/foreign-services.md": 1},
    "not run: needs a Kubernetes cluster with this Deployment": {
        "docs/doctor.md": 1, "docs/kubernetes.md": 1,
    },
}  # fmt: skip
#: Pictures in characters: text that no program prints.
PICTURES = {"docs/calls.md": 1, "docs/concepts.md": 1, "docs/server.md": 1}
#: Commands that change nothing.
LOOKS = ("curl ", "grep ")
#: A server that a page gives as a program gets a port of its own, and the page's certificates if it has some.
SERVE = """
[ -e certs/greeter ] || export MESH_PLAINTEXT=true
MESH_ADDRESS=127.0.0.1:50091 MESH_IDENTITY_DIRECTORY=certs/greeter PYTHONUNBUFFERED=1 python %s > served.log &
"""
CALL = "MESH_TARGETS=greeter=static:///127.0.0.1:50091 MESH_IDENTITY_DIRECTORY=certs/caller python %s"
STOP = "kill $!; wait $!; cat served.log; rm served.log"

ALL = {page.relative_to(docskit.MESH).as_posix(): docskit.blocks(page) for page in docskit.PAGES}
#: The pages with something to run, each of which is one test.
RUN = [
    name for name, found in ALL.items() if any(each.language in ("sh", "console", "python") for each in found)
]


def elsewhere(block: Block) -> bool:
    """Return whether a block is not for this module."""
    return block.comment in NOT_HERE


def counted(blocks: list[Block]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in blocks:
        found[each.page] = found.get(each.page, 0) + 1
    return found


def every_block() -> list[Block]:
    return [each for found in ALL.values() for each in found]


def test_the_blocks_that_are_not_run_here_are_these() -> None:
    for comment, pages in NOT_HERE.items():
        assert counted([each for each in every_block() if each.comment == comment]) == pages, comment
    others = {each.comment for each in every_block()} - NOT_HERE.keys()
    assert not [comment for comment in others if "run" in comment]


def test_every_block_has_a_language_that_this_module_knows() -> None:
    known = {"sh", "console", "python", "text", "diff", "json", "toml", "proto", "yaml"}
    assert [str(each) for each in every_block() if each.language not in known] == []
    # These are only good for what another block of the page does with them.
    assert [
        str(each) for each in every_block() if each.language in ("proto", "diff") and not each.title
    ] == []
    assert [str(each) for each in every_block() if each.language == "yaml" and not elsewhere(each)] == []


def test_text_is_what_a_program_prints_or_one_of_these_pictures() -> None:
    pictures = [
        block
        for found in ALL.values()
        for before, block in zip([None, *found], found, strict=False)
        if block.language == "text"
        and not elsewhere(block)
        and (before is None or before.language != "python")
    ]
    assert counted(pictures) == PICTURES


@pytest.mark.parametrize("block", [each for each in every_block() if each.language == "json"], ids=str)
def test_json_is_a_service_config(block: Block) -> None:
    assert read_document(block.text, str(block))


@pytest.mark.parametrize("block", [each for each in every_block() if each.language == "toml"], ids=str)
def test_toml_is_a_policy_or_a_settings_file(block: Block, tmp_path: Path) -> None:
    if {"allow", "users"} & tomllib.loads(block.text).keys():
        assert Policy.parse(block.text) != Policy()
        return
    (tmp_path / "mesh.toml").write_text(block.text)
    environ = {"MESH_CONFIG_FILE": str(tmp_path / "mesh.toml")}
    assert MeshConfig.from_env(environ, service="example") != MeshConfig("example")


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run_in_order(page: str, tmp_path: Path) -> None:
    if page not in FROM_NOTHING:
        shutil.copytree(HELLO, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HELLO, tmp_path / "hello")
    with Session(tmp_path, docskit.environment()) as session:
        printed = ""
        for block in ALL[page]:
            if not elsewhere(block):
                printed = do(session, block, printed)


def do(session: Session, block: Block, before: str) -> str:
    """Do what a reader does with one block. Return what it printed.

    Args:
        before: What the block before it printed.
    """
    if block.title:
        (session.directory / block.title).write_text(block.text)
    elif block.language == "sh":
        return session.run(block.text)
    elif block.language == "console":
        for command, shown in docskit.commands(block):
            output(session, block, command, shown)
    elif block.language == "python":
        return program(session, block)
    elif block.language == "text" and block.page not in PICTURES:
        assert docskit.same(block.text, before), (str(block), before)
    return ""


def output(session: Session, block: Block, command: str, shown: str) -> None:
    """Check what a command prints. One that only looks is repeated: logs and metrics follow a call later."""
    end = time.monotonic() + docskit.TIMEOUT
    while True:
        printed = session.run(command, check=not shown)
        if docskit.same(shown, printed, numbers="differ" in block.comment):
            return
        assert command.startswith(LOOKS), (str(block), command, printed)
        assert time.monotonic() < end, (str(block), command, printed)


def program(session: Session, block: Block) -> str:
    """Run a program of a page. One that serves gets a call, and SIGTERM. Return what it printed."""
    name = f"program_{block.line}.py"
    (session.directory / name).write_text(block.text)
    if "mesh.serve(" not in block.text and "\nrun(" not in block.text:
        return session.run(f"python {name}")
    session.run(SERVE % name)
    assert session.run(CALL % "hello/client.py") == "Hello, mesh!\n", str(block)
    return session.run(STOP)
