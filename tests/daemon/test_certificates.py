"""The dates of the daemon's own certificate, and where its files are named."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.tls.certificates import Certificates
from zeotwisted.daemon.certificates import date_problem, endpoint_files, trusted_problems

_NOW = datetime.now(timezone.utc)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (0, None),
        (61, "expires in 29 days, on "),
        (91, "has expired on "),
        (-10, "is not valid before "),
    ],
)
def test_dates(tmp_path: Path, days: int, expected: str | None) -> None:
    file = str(Certificates(tmp_path).authority.issue("long", days=90)[0])
    problem = date_problem(file, _NOW + timedelta(days=days))
    if expected is None:
        assert problem is None
    else:
        assert problem is not None
        assert problem.startswith(f"the certificate {file} {expected}")


def test_dates_of_clients(tmp_path: Path) -> None:
    authority = Certificates(tmp_path).authority
    old, soon, good = (
        authority.issue(name, days=days)[0].read_bytes()
        for name, days in (("old", -1), ("soon", 10), ("good", 90))
    )
    file = tmp_path / "clients.pem"
    file.write_bytes(old + soon + good)
    first, second = trusted_problems(str(file), _NOW)
    assert first.startswith(f"the certificate of CN=old in {file} has expired on ")
    assert second.startswith(f"the certificate of CN=soon in {file} expires in ")


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_what_is_no_certificate(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert date_problem(str(file), _NOW) is None


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("tcp:8100", {}),
        ("ssl:8100", {"certKey": "server.pem", "privateKey": "server.pem"}),
        ("ssl:8100:privateKey=a", {"certKey": "a", "privateKey": "a"}),
        (r"ssl:8100:privateKey=a:certKey=b\:c", {"certKey": "b:c", "privateKey": "a"}),
    ],
)
def test_files_of_an_endpoint(description: str, expected: dict[str, str]) -> None:
    assert endpoint_files(description) == expected
