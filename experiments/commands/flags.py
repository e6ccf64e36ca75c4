"""What commands share in reading their command line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence


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
