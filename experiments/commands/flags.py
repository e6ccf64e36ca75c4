"""What commands share in reading their command line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from pinet_jax.errors import UsageError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def given(arguments: Sequence[str], flag: str) -> str | None:
    """The value that a flag is given, looked for before the command line is parsed.

    What --config and --checkpoint name decides the defaults of other flags.
    """
    for name, value in itertools.pairwise([*arguments, ""]):
        if name == flag:
            return value
        if name.startswith(f"{flag}="):
            return name.removeprefix(f"{flag}=")
    return None


def local_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments with `~` as the home folder, also behind `=`, where no shell expands it.

    Raises:
        UsageError: a path is an address; a local folder called `gs:` would be made for it.
    """
    return [_local_path(argument) for argument in arguments]


def _local_path(argument: str) -> str:
    flag, equals, value = (
        argument.partition("=") if argument.startswith("--") else ("", "", argument)
    )
    if _SCHEME.match(value):
        raise UsageError(
            f"{value}: paths are local; mount the bucket (gcsfuse, s3fs) or copy the files first"
        )
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    return f"{flag}{equals}{value}"


def check_new(out: str | Path) -> None:
    """Refuses an --out that is there already, before there is work that could not be stored.

    Raises:
        UsageError: it is there.
    """
    if Path(out).exists():
        raise UsageError(f"--out {out}: exists already; remove it or choose another name")


def in_flags(message: str, arguments: Sequence[str]) -> str:
    """A message that begins with a config's field, with the flag that was typed in its place."""
    field = re.match(r"[a-z]\w*(?= )", message)
    if field is None:
        return message
    words = field[0].replace("_", "-")
    for argument in arguments:
        flag = argument.partition("=")[0]
        if re.fullmatch(rf"--([\w-]+\.)*(no-)?{words}", flag):
            return flag + message[field.end() :]
    return message
