"""Configuration files: the ZConfig schemas of the server and of the client storage.

ZConfig's schemas (``*.xml``) define keys, types and defaults.
"""

from __future__ import annotations

from .access import ROLES_BY_DEFAULT, access_from_lines
from .datatypes import host_names
from .effective import EffectiveSetting, effective_settings, variable
from .listeners import HTTPListener, Listener, described
from .logform import LogForm, log_form
from .mistakes import check_server_config
from .places import (
    address_problem,
    storage_problems,
    unfinished_problem,
)
from .server import (
    ConfigurationError,
    ServerConfig,
    StorageOpener,
    parse_server_config,
    parse_storages,
    read_server_config,
    storage_section,
)
from .settings import Setting, server_settings
from .standbys import StandbySettings
from .tls import ContextError, is_encrypted
from .tlsfiles import FileState, TLSFiles, file_states
from .uri import resolve

__all__ = [
    "ROLES_BY_DEFAULT",
    "ConfigurationError",
    "ContextError",
    "EffectiveSetting",
    "FileState",
    "HTTPListener",
    "Listener",
    "LogForm",
    "ServerConfig",
    "Setting",
    "StandbySettings",
    "StorageOpener",
    "TLSFiles",
    "access_from_lines",
    "address_problem",
    "check_server_config",
    "described",
    "effective_settings",
    "file_states",
    "host_names",
    "is_encrypted",
    "log_form",
    "parse_server_config",
    "parse_storages",
    "read_server_config",
    "resolve",
    "server_settings",
    "storage_problems",
    "storage_section",
    "unfinished_problem",
    "variable",
]
