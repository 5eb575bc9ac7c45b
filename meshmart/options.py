"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from local.options import DEFAULT_STATE_DIR

StateDirOption = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="MESHMART_STATE_DIR",
        help="Where the cluster keeps everything.",
        show_default=True,
    ),
]
DEFAULT = DEFAULT_STATE_DIR
