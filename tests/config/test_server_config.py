"""The server's configuration: every key, every error, and files as they are found in the wild."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from zeotwisted.config import Listener
from zeotwisted.config.client import ClientStorageConfig
from zeotwisted.config.loader import read_schema
from zeotwisted.config.server import (
    ConfigurationError,
    ServerConfig,
    parse_server_config,
    parse_storages,
    read_server_config,
    storage_section,
)

MEMORY = "<mappingstorage>\n</mappingstorage>\n"


DEFAULTS = {
    "read_only": False,
    "invalidation_queue_size": 100,
    "invalidation_queue_bytes": 32 * 1024 * 1024,
    "record_cache_bytes": 32 * 1024 * 1024,
    "invalidation_age": None,
    "transaction_timeout": 60.0,
    "conflict_classes": None,
    "synchronous_standby": 0.0,
    "drain_timeout": 5.0,
    "pack_at_stop": "interrupt",
    "client_timeout": 60.0,
    "client_conflict_resolution": False,
    "msgpack": False,
    "protocol_limit": 6,
    "message_limit": 1024**3,
    "spool_dir": None,
    "message_memory": 1024**3,
    "send_limit": 256 * 1024**2,
    "send_memory": 1024**3,
    "connection_limit": None,
    "address_limit": None,
    "unregistered_limit": None,
    "register_timeout": 30.0,
    "register_bytes": 64 * 1024,
    "transaction_limit": 16 * 1024**3,
    "operation_limit": 5_000_000,
    "spool_memory": 256 * 1024**2,
    "spool_limit": 64 * 1024**3,
    "disk_reserve": 256 * 1024**2,
    "file_limit": None,
    "download_files": None,
    "iterator_files": None,
    "iterator_limit": 200_000,
    "iterator_timeout": 60.0,
    "call_limit": 1000,
    "call_total": 20_000,
}


def server_text(*lines: str, storages: str = MEMORY) -> str:
    """Return a configuration whose `lines` begin at line 3."""
    return "\n".join(["<zeo>", "address 8100", *lines, "</zeo>", storages])


def message_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_server_config(text)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.fixture(autouse=True)
def no_msgpack_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEO_MSGPACK", raising=False)


# Keys

KEYS = [key for key, info in read_schema("schema.xml").gettype("zeo") if not info.issection()]


def test_defaults() -> None:
    config = parse_server_config(server_text())
    (opener,) = config.storages
    assert config == ServerConfig(
        listeners=(Listener(("", 8100)),),
        storages=(opener,),
        settings=DEFAULTS,
        pid_filename=None,
        eventlog=None,
        access=None,
    )
    assert opener.name == "1"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("read-only yes", {"read_only": True}),
        ("invalidation-queue-size 7", {"invalidation_queue_size": 7}),
        ("invalidation-queue-bytes 1MB", {"invalidation_queue_bytes": 2**20}),
        ("record-cache-bytes 0", {"record_cache_bytes": 0}),
        ("invalidation-age 0", {"invalidation_age": 0.0}),
        ("invalidation-age 86400.5", {"invalidation_age": 86400.5}),
        ("transaction-timeout 30", {"transaction_timeout": 30.0}),
        ("transaction-timeout 0.5", {"transaction_timeout": 0.5}),
        ("transaction-timeout 0", {"transaction_timeout": 0.0}),
        ("client-timeout 0", {"client_timeout": 0.0}),
        ("client-timeout 2.5", {"client_timeout": 2.5}),
        ("client-conflict-resolution on", {"client_conflict_resolution": True}),
        ("msgpack true", {"msgpack": True}),
        ("protocol-limit 5", {"protocol_limit": 5}),
        ("conflict-classes none", {"conflict_classes": ()}),
        ("conflict-classes *", {"conflict_classes": ("*",)}),
        ("conflict-classes a.B c", {"conflict_classes": ("a.B", "c")}),
        ("drain-timeout 0", {"drain_timeout": 0.0}),
        ("synchronous-standby 2.5", {"synchronous_standby": 2.5}),
        ("pack-at-stop wait", {"pack_at_stop": "wait"}),
        ("message-limit 64KB", {"message_limit": 65536}),
        ("message-limit 70000", {"message_limit": 70000}),
        ("message-limit 4095mb", {"message_limit": 4095 * 1024**2}),
        ("spool-dir .", {"spool_dir": "."}),
        ("connection-limit 7", {"connection_limit": 7}),
        ("send-limit 64KB", {"send_limit": 65536}),
        ("disk-reserve 0", {"disk_reserve": 0}),
        ("register-timeout 0.5", {"register_timeout": 0.5}),
        ("pid-filename zeo.pid", {"pid_filename": "zeo.pid"}),
    ],
)
def test_a_value(line: str, expected: dict[str, object]) -> None:
    config = parse_server_config(server_text(line))
    (name,) = expected
    settings = DEFAULTS | expected if name in DEFAULTS else DEFAULTS
    others = {} if name in DEFAULTS else expected
    assert config == ServerConfig((Listener(("", 8100)),), config.storages, settings, **others)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8100", ("", 8100)),
        ("localhost:0", ("localhost", 0)),
        ("LocalHost:8100", ("localhost", 8100)),
        ("[::1]:8100", ("::1", 8100)),
        ("/run/zeo.sock", "/run/zeo.sock"),
        ("./zeo.sock", "./zeo.sock"),
    ],
)
def test_address(text: str, expected: object) -> None:
    config = parse_server_config(f"<zeo>\naddress {text}\n</zeo>\n{MEMORY}")
    assert [listener.address for listener in config.listeners] == [expected]


def test_more_places_to_listen() -> None:
    config = parse_server_config(
        server_text(
            "<listen>",
            "address /run/zeo.sock",
            "<access>",
            "write unix-user:zope",
            "</access>",
            "</listen>",
            "<listen>",
            "address 127.0.0.1:0",
            "</listen>",
        )
    )
    assert [listener.address for listener in config.listeners] == [
        ("", 8100),
        "/run/zeo.sock",
        ("127.0.0.1", 0),
    ]
    assert config.access is None
    assert [listener.access is None for listener in config.listeners] == [True, False, True]


def test_an_address_is_not_needed_beside_a_section() -> None:
    text = f"<zeo>\n<listen>\naddress 127.0.0.1:0\n</listen>\n</zeo>\n{MEMORY}"
    (listener,) = parse_server_config(text).listeners
    assert listener.address == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("variable", "lines", "expected"),
    [
        ("1", [], True),
        ("", [], False),
        ("1", ["msgpack off"], False),
        ("", ["msgpack on"], True),
    ],
)
def test_environment_decides_on_msgpack_only_when_the_key_is_missing(
    monkeypatch: pytest.MonkeyPatch, variable: str, lines: list[str], expected: bool
) -> None:
    monkeypatch.setenv("ZEO_MSGPACK", variable)
    assert parse_server_config(server_text(*lines)).settings["msgpack"] is expected


def test_configuration_cannot_be_changed() -> None:
    config = parse_server_config(server_text())
    with pytest.raises(AttributeError):
        config.listeners = ()  # type: ignore[misc]


# Errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "adress 8100",
            "'adress' is not a known key name; write address",
        ),
        (
            "connection-limit 0",
            "connection-limit: '0' is not a limit; write a whole number from 1 upwards",
        ),
        (
            "send-limit 1KB",
            "send-limit: '1KB' is not a limit; write a size of 64KB or more, such as 500MB",
        ),
        (
            "register-timeout 0",
            "register-timeout: '0' is not a length of time; write a number of seconds above 0",
        ),
        ("address 8101", "'address' does not support multiple values; keep one of these lines"),
        (
            "read-only maybe",
            "read-only: not a valid boolean value: 'maybe'; write on or off",
        ),
        (
            "client-conflict-resolution 1",
            "client-conflict-resolution: not a valid boolean value: '1'; write on or off",
        ),
        ("msgpack 1", "msgpack: not a valid boolean value: '1'; write on or off"),
        (
            "pid-filename /no/such/directory/pid",
            "pid-filename: The directory named as part of the path /no/such/directory/pid does "
            "not exist; create the directory, or correct the path",
        ),
        (
            "<ssl>",
            "<ssl> of line 3 is not closed; add a line </ssl> after its keys",
        ),
        (
            "<nonsense/>",
            "unknown type name: 'nonsense'; correct the section's type, or add an %import of "
            "the package that defines it",
        ),
        (
            "<mappingstorage/>",
            "no matching section defined for type='mappingstorage', name='None'; move the "
            "section to where it belongs, or remove it",
        ),
        (
            "%import zeotwisted_missing",
            "could not load package zeotwisted_missing: No module named 'zeotwisted_missing'; "
            "install that package, or correct its name",
        ),
        (
            "%import email",
            "error opening schema component: FileNotFoundError(2, 'No such file or directory'); "
            "correct the package's name, as it has no component.xml",
        ),
        (
            "%import ZEO",
            "type name cannot be redefined: 'ssl'; remove the %import, or write "
            "%import zeotwisted for %import ZEO",
        ),
        (
            "%include /no/such/file.conf",
            "error opening file /no/such/file.conf: [Errno 2] No such file or directory: "
            "'/no/such/file.conf'; correct the path",
        ),
        (
            "%require x",
            "unknown directive: 'require'; only %define, %import and %include are known, "
            "each with an argument",
        ),
        (
            "%define 1x y",
            "not a substitution legal name: '1x'; use letters, digits and underscores only",
        ),
        (
            "pid-filename $nowhere/x",
            "no replacement for 'nowhere'; %define the name above, or write $$ for a dollar sign",
        ),
        (
            "pid-filename x$",
            "illegal lone '$' at end of source; %define the name above, or write $$ for a "
            "dollar sign",
        ),
        ("(", "malformed configuration data; write a key, a blank and a value"),
        (
            "<ssl",
            "malformed section start; write every <section> on a line of its own and close it "
            "with </section>",
        ),
    ],
)
def test_error_in_a_line(line: str, message: str) -> None:
    number = 4 if line == "<ssl>" else 3
    assert message_of(server_text(line)) == f"configuration, line {number}: {message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("read_only on", "'read_only' is not a known key name; write read-only"),
        (
            "monitor-address 8101",
            "'monitor-address' is a key of earlier versions of ZEO, without a meaning now; "
            "remove it; the daemon answers ruok at its own address",
        ),
        *(
            (
                f"authentication-{what} x",
                f"'authentication-{what}' is a key of earlier versions of ZEO, without a meaning "
                f"now; {remedy}",
            )
            for what, remedy in {
                "protocol": "remove it; the key accounts and <access> sections admit clients",
                "database": "write accounts, with a file that zeotwisted user has made",
                "realm": "write realm",
            }.items()
        ),
        (
            "read-only = on",
            "read-only: not a valid boolean value: '= on'; write the value without =",
        ),
        ("spool-dir = .", "spool-dir: = . is not an existing directory; write the value without ="),
        (
            "pid-filename = pid",
            "pid-filename: the value begins with =; write pid-filename pid",
        ),
        (
            "read-only=on",
            "value did not match regular expression: 'read-only=on'; write read-only, a blank "
            "and the value, without = or :",
        ),
        (
            "read-only: on",
            "value did not match regular expression: 'read-only:'; write read-only, a blank and "
            "the value, without = or :",
        ),
        (
            'read-only "on"',
            "read-only: not a valid boolean value: '\"on\"'; write the value without quotes",
        ),
        (
            "read-only on # for now",
            "read-only: not a valid boolean value: 'on # for now'; move the comment to a line of "
            "its own",
        ),
        (
            "spool-dir nowhere",
            "spool-dir: nowhere is not an existing directory; create the directory, or correct "
            "the path",
        ),
        (
            "<zlibstorage>",
            "unknown type name: 'zlibstorage'; add a line %import zc.zlibstorage above it",
        ),
        (
            "<filestorage1>",
            "unknown type name: 'filestorage1'; write <filestorage 1>, with a blank before the "
            "name",
        ),
        (
            "%import os.path",
            "import name does not refer to a package; name a package that has a component.xml",
        ),
        (
            "[zeo]",
            "value did not match regular expression: '[zeo]'; write a key, a blank and a value, "
            "or a <section>",
        ),
    ],
)
def test_a_slip_in_a_line(line: str, message: str) -> None:
    assert message_of(server_text(line)) == f"configuration, line 3: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<zeo>\naddress 8100\n" + MEMORY,
            "line 3: <zeo> of line 1 is not closed; add a line </zeo> after its keys",
        ),
        (
            server_text(storages="<filestorage a>\npath x\n<mappingstorage b/>"),
            "line 6: <filestorage> of line 4 is not closed; add a line </filestorage> after its "
            "keys",
        ),
        (
            server_text(storages="<filestorage a>\npath x\n" + "# end\n" * 3),
            "line 8: <filestorage> of line 4 is not closed; add a line </filestorage> after its "
            "keys",
        ),
        (
            server_text(storages=f"<zodb main>\n{MEMORY}</zodb>"),
            "line 4: no matching section defined for type='zodb', name='main'; write the "
            "storage's section without <zodb>, which is for clients",
        ),
    ],
)
def test_a_slip_with_sections(text: str, message: str) -> None:
    assert message_of(text) == f"configuration, {message}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("= 127.0.0.1:8100", "write the value without ="),
        ('"127.0.0.1:8100"', "write the value without quotes"),
        ("8100 # for now", "move the comment to a line of its own"),
        ("::1:8100", "write an IPv6 address in brackets, as in [::1]:8100"),
        ("zeo://localhost:8100", "write it without zeo://, as in localhost:8100"),
    ],
)
def test_a_slip_in_an_address(value: str, message: str) -> None:
    assert message_of(f"<zeo>\naddress {value}\n</zeo>\n{MEMORY}") == (
        f"configuration, line 2: address: {value!r} is not an address; {message}"
    )


def test_a_package_that_needs_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "storage_of_test").mkdir()
    (tmp_path / "storage_of_test" / "__init__.py").write_text("import driver_of_test\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert message_of("%import storage_of_test\n" + server_text()) == (
        "configuration, line 1: could not load package storage_of_test: No module named "
        "'driver_of_test'; install driver_of_test, which storage_of_test needs"
    )


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    path = tmp_path / "zeo.conf"
    path.write_text(f"%include {path}\n")
    with pytest.raises(ConfigurationError, match="a file may not %include itself"):
        read_server_config(path)


def test_line_ends_and_tabs_of_other_systems() -> None:
    text = server_text("read-only on").replace("read-only ", "\tread-only\t")
    assert parse_server_config(text.replace("\n", "\r\n")).settings["read_only"]


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "", "9" * 5000])
def test_bad_queue_size(value: str) -> None:
    assert message_of(server_text(f"invalidation-queue-size {value}")) == (
        f"configuration, line 3: invalidation-queue-size: {value!r} is not a queue size; "
        "write a whole number from 1 upwards"
    )


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "long"])
def test_bad_age(value: str) -> None:
    assert message_of(server_text(f"invalidation-age {value}")) == (
        f"configuration, line 3: invalidation-age: {value!r} is not an age; "
        "write a number of seconds, 0 or more"
    )


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "30s"])
def test_bad_timeout(value: str) -> None:
    assert message_of(server_text(f"transaction-timeout {value}")) == (
        f"configuration, line 3: transaction-timeout: {value!r} is not a timeout; "
        "write a number of seconds, or 0 for no timeout"
    )


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "never"])
def test_bad_silence(value: str) -> None:
    assert message_of(server_text(f"client-timeout {value}")) == (
        f"configuration, line 3: client-timeout: {value!r} is not a length of a silence; "
        "write a number of seconds, or 0 for any"
    )


@pytest.mark.parametrize("value", ["4", "7", "6.0", "x"])
def test_bad_protocol_limit(value: str) -> None:
    assert message_of(server_text(f"protocol-limit {value}")) == (
        f"configuration, line 3: protocol-limit: {value!r} is not a version of the protocol; "
        "write 5 or 6"
    )


@pytest.mark.parametrize("value", ["0", "-1MB", "65535", "4GB", "huge", "9" * 400])
def test_bad_message_limit(value: str) -> None:
    assert message_of(server_text(f"message-limit {value}")) == (
        f"configuration, line 3: message-limit: {value!r} is not a size for messages; "
        "write a size from 64KB to 4095MB, such as 500MB or 1GB"
    )


@pytest.mark.parametrize("value", ["localhost", "localhost:", "::1", "zeo.sock", "x:70000", "a b"])
def test_bad_address(value: str) -> None:
    assert message_of(f"<zeo>\naddress {value}\n</zeo>\n{MEMORY}") == (
        f"configuration, line 2: address: {value!r} is not an address; "
        "write host:port, or a port from 0 to 65535, or a path with a slash in it"
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no certificate; add a line that begins with certificate"),
        (
            ["certificate /no/such.pem"],
            "no authenticate; name the file or folder with the certificates of the clients",
        ),
        (
            ["certificate /no/such.pem", "authenticate /no/such.pem"],
            "authenticate: /no/such.pem: No such file or directory; name a file with certificates "
            "in PEM format, or a folder of such",
        ),
        (
            ["certificate /no/such.pem", "authenticate /"],
            "certificate: /no/such.pem is no file; correct the path",
        ),
        (
            ["certificate /no/such.pem", "authenticate /", "server-hostname x"],
            "check-hostname and server-hostname are for clients; remove these lines",
        ),
    ],
)
def test_mistakes_in_ssl(lines: list[str], message: str) -> None:
    # A mistake is at the line of its key, if that is there.
    keys = [line.partition(" ")[0] for line in lines]
    key = message.partition(":")[0]
    number = 5 + keys.index(key) if key in keys else 4
    assert message_of(server_text("read-only on", "<ssl>", *lines, "</ssl>")) == (
        f"configuration, line {number}: <ssl>: {message}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "configuration: no values for section type 'zeo'; 1 required; add a section <zeo>"),
        (
            MEMORY,
            "configuration: no values for section type 'zeo'; 1 required; add a section <zeo>",
        ),
        (
            server_text(storages=""),
            "configuration: not enough values for section type 'zodb.storage'; 0 found, "
            "1 required; add a section such as <filestorage>",
        ),
        (
            f"<zeo>\n</zeo>\n{MEMORY}",
            "configuration, line 1: no values for 'address'; 1 required; "
            "add a line that begins with address",
        ),
        (
            "<zeo>\naddress 8100\n",
            "configuration, line 2: <zeo> of line 1 is not closed; "
            "add a line </zeo> after its keys",
        ),
        (
            server_text(storages="</zeo>"),
            "configuration, line 4: unexpected section end; "
            "write every <section> on a line of its own and close it with </section>",
        ),
        (
            server_text(storages="<zeo>\naddress 8101\n</zeo>"),
            "configuration, line 6: too many instances of 'zeo' section; "
            "keep one of these sections",
        ),
        (
            server_text(storages="address 8101"),
            "configuration, line 4: 'address' is not a known key name; "
            "move the line into the section that it belongs to",
        ),
        (
            server_text(storages="<ZODB.storage/>"),
            "configuration, line 4: concrete sections cannot match abstract section types; "
            "found abstract type 'zodb.storage'; name the kind of storage, as in <filestorage>",
        ),
        (
            server_text(storages="<filestorage>\npath /no/such/directory/Data.fs\n</filestorage>"),
            "configuration, line 5: path: The directory named as part of the path "
            "/no/such/directory/Data.fs does not exist; create the directory, or correct the path",
        ),
        (
            server_text(storages=f"{MEMORY}<eventlog>\nlevel loud\n</eventlog>"),
            "configuration, line 7: level: 'loud' is not a level of the log; "
            "write critical, error, warn, info, debug or all",
        ),
    ],
)
def test_error_in_a_whole_configuration(text: str, message: str) -> None:
    assert message_of(text) == message


def test_error_that_is_not_zconfigs_own() -> None:
    logfile = "<eventlog>\n<logfile>\npath x\nformat %(nonsense)s\n</logfile>\n</eventlog>"
    assert message_of(server_text(storages=MEMORY + logfile)) == (
        "configuration, line 11: KeyError: 'nonsense'; "
        "correct this line, or the package that it names"
    )


def test_package_that_fails_on_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zeotwisted_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        parse_server_config(f"%import zeotwisted_broken\n{server_text()}")
    assert str(caught.value) == (
        "configuration, line 1: ZeroDivisionError: division by zero; "
        "correct this line, or the package that it names"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# Names of storages


def names(storages: str) -> list[str]:
    return [opener.name for opener in parse_server_config(server_text(storages=storages)).storages]


def test_names() -> None:
    assert names("<mappingstorage/>") == ["1"]
    assert names("<mappingstorage main/>") == ["main"]
    assert names("<mappingstorage Main/>") == ["main"]
    assert names("<mappingstorage 1/>\n<mappingstorage 2/>") == ["1", "2"]
    assert names("<mappingstorage b/>\n<mappingstorage/>\n<mappingstorage a/>") == ["b", "1", "a"]


@pytest.mark.parametrize("types", [("mappingstorage", "mappingstorage"), ("demostorage",) * 2])
def test_two_storages_without_a_name(types: tuple[str, str]) -> None:
    first, second = types
    assert message_of(server_text(storages=f"<{first}/>\n<mappingstorage 2/>\n<{second}/>")) == (
        "configuration, line 6: a second storage without a name; give it one, as in <filestorage 2>"
    )


@pytest.mark.parametrize(
    ("storages", "line"),
    [("<mappingstorage/>\n<mappingstorage 1/>", 4), ("<mappingstorage 1/>\n<mappingstorage/>", 5)],
)
def test_storage_without_a_name_beside_storage_1(storages: str, line: int) -> None:
    assert message_of(server_text(storages=storages)) == (
        f"configuration, line {line}: a storage without a name is named 1, "
        "as another one is already; give it another name, as in <filestorage 2>"
    )


def test_two_storages_with_one_name() -> None:
    assert message_of(server_text(storages="<mappingstorage a/>\n<demostorage A/>")) == (
        "configuration, line 5: section names must not be re-used within the same container:'a'; "
        "give each of these sections a name of its own"
    )


def test_open() -> None:
    text = server_text(storages="<mappingstorage>\nname called\n</mappingstorage>")
    storage = parse_server_config(text).storages[0].open()
    assert isinstance(storage, MappingStorage)
    assert storage.getName() == "called"
    storage.close()


# Files

LIKE_THE_DOCUMENTATION = """\
%define INSTANCE {instance}

# The server itself
<zeo>
  address localhost:8100
  read-only false
  invalidation-queue-size 1000
  transaction-timeout 300
  pid-filename $INSTANCE/var/ZEO.pid
</zeo>

<filestorage 1>
  path $INSTANCE/var/Data.fs
  blob-dir $INSTANCE/var/blobs
</filestorage>

<blobstorage temporary>
  blob-dir $INSTANCE/var/other
  <mappingstorage>
    name temporary
  </mappingstorage>
</blobstorage>

<eventlog>
  level info
  <logfile>
    path $INSTANCE/log/zeo.log
    format %(asctime)s %(message)s
  </logfile>
</eventlog>

<runner>
  program $INSTANCE/bin/runzeo
  socket-name $INSTANCE/var/zeo.zdsock
  daemon true
  forever false
  backoff-limit 10
  exit-codes 0, 2
  directory $INSTANCE
  default-to-interactive true
  # user zope
  logfile $INSTANCE/log/runner.log
  <eventlog>
    level warn
  </eventlog>
</runner>
"""


def test_file_like_the_documentations(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "log").mkdir()
    path = tmp_path / "zeo.conf"
    path.write_text(LIKE_THE_DOCUMENTATION.format(instance=tmp_path))

    config = read_server_config(path)

    assert config == ServerConfig(
        listeners=(Listener(("localhost", 8100)),),
        storages=config.storages,
        settings=DEFAULTS | {"invalidation_queue_size": 1000, "transaction_timeout": 300.0},
        pid_filename=f"{tmp_path}/var/ZEO.pid",
        eventlog=config.eventlog,
        without_effect=("<runner>",),
    )
    assert [opener.name for opener in config.storages] == ["1", "temporary"]
    storage = config.storages[0].open()
    assert isinstance(storage, FileStorage)
    assert storage.getName() == f"{tmp_path}/var/Data.fs"
    storage.close()


def test_eventlog_is_set_up_only_when_it_is_called(tmp_path: Path) -> None:
    log = tmp_path / "zeo.log"
    section = f"<eventlog>\nlevel warn\n<logfile>\npath {log}\n</logfile>\n</eventlog>\n"
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    config = parse_server_config(server_text(storages=MEMORY + section))
    assert root.handlers == before
    assert config.eventlog is not None
    try:
        assert config.eventlog() is root
        (added,) = [handler for handler in root.handlers if handler not in before]
        assert root.level == logging.WARNING
        root.removeHandler(added)
        added.close()
    finally:
        root.setLevel(level)
    assert log.exists()


def test_any_runner_section_is_accepted() -> None:
    runner = "<runner>\nwhatever 1\nwhatever 2\n</runner>"
    assert parse_server_config(server_text(storages=MEMORY + runner)).storages


def test_zdaemon_is_not_needed() -> None:
    program = (
        "import sys\n"
        "sys.modules['zdaemon'] = sys.modules['ZEO'] = None\n"
        "from zeotwisted.config.server import parse_server_config\n"
        f"parse_server_config({server_text(storages=MEMORY + '<runner/>')!r})\n"
        "assert 'twisted' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_error_names_the_file_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zeo.conf").write_text(server_text("msgpack 1"))
    with pytest.raises(ConfigurationError, match=r"^zeo\.conf, line 3: msgpack: "):
        read_server_config("zeo.conf")


def test_error_in_an_included_file(tmp_path: Path) -> None:
    path = tmp_path / "zeo.conf"
    included = tmp_path / "a b.conf"
    path.write_text("%include a%20b.conf\n")
    included.write_text(server_text("nonsense 1"))
    with pytest.raises(ConfigurationError) as caught:
        read_server_config(path)
    assert str(caught.value).startswith(f"{included}, line 3: 'nonsense' is not a known key name; ")
    included.write_text(server_text("msgpack 1"))
    with pytest.raises(ConfigurationError) as caught:
        read_server_config(path)
    assert str(caught.value).startswith(f"{included}, line 3: msgpack: not a valid boolean")
    included.write_text(server_text())
    assert read_server_config(path).listeners[0].address == ("", 8100)


def test_missing_included_file_is_reported_where_it_is_included(tmp_path: Path) -> None:
    path = tmp_path / "zeo.conf"
    path.write_text("\n%include missing.conf\n")
    with pytest.raises(ConfigurationError) as caught:
        read_server_config(path)
    assert str(caught.value).startswith(
        f"{path}, line 2: error opening file {tmp_path}/missing.conf: "
    )


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "zeo.conf"
    with pytest.raises(ConfigurationError) as caught:
        read_server_config(path)
    assert str(caught.value) == (
        f"{path}: cannot be read: No such file or directory; check the path"
    )


def test_directory_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=": cannot be read: Is a directory; check"):
        read_server_config(tmp_path)


def test_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "zeo.conf"
    path.write_bytes(b"# first\n# f\xfcr\n")
    with pytest.raises(ConfigurationError) as caught:
        read_server_config(path)
    assert str(caught.value) == (f"{path}, line 2: the file is not UTF-8; save it in that encoding")


def test_file_with_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "zeo.conf"
    path.write_bytes(b"\xef\xbb\xbf" + server_text().replace("\n", "\r\n").encode())
    assert read_server_config(path).listeners[0].address == ("", 8100)


@pytest.mark.parametrize("name", ["a:b.conf", "a#b.conf", "a%20b.conf", "a b.conf"])
def test_file_with_an_odd_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(server_text())
    assert read_server_config(name).listeners[0].address == ("", 8100)


# Storages alone


def test_parse_storages() -> None:
    openers = parse_storages("<mappingstorage/>\n<mappingstorage 2/>")
    assert [opener.name for opener in openers] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "storage configuration: not enough values for section type 'zodb.storage'; 0 found, "
            "1 required; add a section such as <filestorage>",
        ),
        (
            "<zeo/>",
            "storage configuration, line 1: unknown type name: 'zeo'; correct the section's "
            "type, or add an %import of the package that defines it",
        ),
        (
            "<mappingstorage/>\n<mappingstorage/>",
            "storage configuration, line 2: a second storage without a name; "
            "give it one, as in <filestorage 2>",
        ),
    ],
)
def test_errors_of_parse_storages(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_storages(text)
    assert str(caught.value) == message


# A storage of another server


def test_serving_a_client_storage() -> None:
    section = "%import zeotwisted\n<clientstorage far>\nserver far.example:8100\n</clientstorage>"
    (opener,) = parse_server_config(server_text(storages=section)).storages
    assert opener.name == "far"
    assert isinstance(opener.section, ClientStorageConfig)
    assert opener.section.arguments()[0] == [("far.example", 8100)]
    # The import changed no schema but that configuration's own.
    assert "unknown type name" in message_of(server_text(storages="<clientstorage/>"))


def test_serving_a_client_storage_below_a_demo_storage() -> None:
    section = (
        "%import zeotwisted\n<demostorage>\n<clientstorage base>\nserver far.example:8100\n"
        "</clientstorage>\n</demostorage>"
    )
    (opener,) = parse_server_config(server_text(storages=section)).storages
    (base,) = opener.section.config.factories
    assert isinstance(base, ClientStorageConfig)


# Sections for paths


@pytest.mark.parametrize(
    ("path", "blob_dir", "expected"),
    [
        ("Data.fs", None, "<filestorage>\n  path Data.fs\n</filestorage>\n"),
        (
            Path("Data.fs"),
            Path("blobs"),
            "<filestorage>\n  path Data.fs\n  blob-dir blobs\n</filestorage>\n",
        ),
        (None, None, "<mappingstorage>\n</mappingstorage>\n"),
        (
            None,
            "blobs",
            "<blobstorage>\n  blob-dir blobs\n  <mappingstorage>\n  </mappingstorage>\n"
            "</blobstorage>\n",
        ),
    ],
)
def test_storage_section(path: str | None, blob_dir: str | None, expected: str) -> None:
    assert storage_section(path, blob_dir) == expected


ODD = st.text(st.sampled_from("aé~$ {}()<>#%/\\\"'=:\t\n\r\v\x85\u2028\0\udcff."), max_size=12)


@given(path=ODD, blob_dir=ODD)
@example(path="~", blob_dir="~root")
@example(path="$HOME", blob_dir="${x}$(HOME)$$")
@example(path="#a", blob_dir="%define x")
def test_odd_path_is_read_as_it_was_or_refused(path: str, blob_dir: str) -> None:
    # With a directory of their own the paths need not exist to be accepted.
    path, blob_dir = path.replace("/", "|"), blob_dir.replace("/", "|")
    try:
        text = storage_section(path, blob_dir)
    except ConfigurationError as error:
        assert repr(path) in str(error) or repr(blob_dir) in str(error)
        return
    config = parse_storages(text)[0].section.config
    assert os.path.normpath(config.path) == os.path.normpath(path)
    assert os.path.normpath(config.blob_dir) == os.path.normpath(blob_dir)
    in_memory = parse_storages(storage_section(None, blob_dir))[0].section.config
    assert os.path.normpath(in_memory.blob_dir) == os.path.normpath(blob_dir)


@pytest.mark.parametrize("path", ["", " a", "a ", "a\n", "a\nb", "\ta", "a\rb", "a\0b", "a\u2028b"])
def test_path_that_cannot_be_written_down(path: str) -> None:
    for arguments in [(path, None), ("Data.fs", path), (None, path)]:
        with pytest.raises(ConfigurationError) as caught:
            storage_section(*arguments)
        message = str(caught.value)
        assert message.startswith(f"the path {path!r} cannot be used: ")
        assert message.endswith("; rename the file or directory")
        assert "\n" not in message


def test_storage_at_an_odd_path(tmp_path: Path) -> None:
    directory = tmp_path / "$(HOME) #1 <b>"
    directory.mkdir()
    storage = parse_storages(storage_section(directory / "~$x.fs", directory / "blobs"))[0].open()
    storage.close()
    assert (directory / "~$x.fs").exists()
    assert (directory / "blobs").is_dir()
