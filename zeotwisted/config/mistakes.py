"""Finds all mistakes in the configuration of a server, not only the first one."""

from __future__ import annotations

from .loader import ConfigurationError
from .mending import Mending
from .server import ServerConfig, StoragePath, read_text, server_config

__all__ = ["check_server_config"]

#: How many mistakes to look for, so that no file keeps the check busy for long.
_MOST = 100


def check_server_config(path: StoragePath) -> tuple[ServerConfig | None, list[str]]:
    """Return the configuration at `path`, and all its mistakes that can be found, by their lines.

    The configuration is None if there is a mistake. Nothing is opened or created; unlike
    `read_server_config`, this also looks at the storages' files and at the addresses.
    """
    try:
        text, source, url = read_text(path)
    except ConfigurationError as error:
        return None, [str(error)]
    mending = Mending(text)
    mistakes: dict[str, int] = {}
    for _ in range(_MOST):
        try:
            config = server_config(mending.text, source, url, True, mending.numbers)
        except ConfigurationError as error:
            found = (error, *error.more)
            for each in found:
                if not mending.is_consequence(each):
                    number = 0 if each.line is None else mending.lines[each.line - 1].number
                    mistakes.setdefault(str(each), number)
            if not any([mending.leave_out(each) for each in found]):
                break
        else:
            if not mistakes:
                return config, []
            break
    # Mistakes without a line, such as a missing section, come last.
    return None, sorted(mistakes, key=lambda text: mistakes[text] or len(mending.lines) + 1)
