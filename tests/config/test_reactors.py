"""Storages that run the installed reactor themselves are refused before they are opened."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zeotwisted.config.server import ConfigurationError, parse_server_config

COMPONENT = """
<component>
  <sectiontype name="zrs" implements="ZODB.storage" datatype="zc.zrs.zconfig.ZRS">
    <section type="ZODB.storage" name="*" attribute="base" required="yes"/>
  </sectiontype>
</component>
"""

ZRS = "<zrs{name}>\n <mappingstorage>\n </mappingstorage>\n</zrs>\n"


MODULE = """
class ZRS:
    def __init__(self, config):
        self.config = config
        self.name = config.getSectionName()
"""


@pytest.fixture
def zrs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a package of this name, as far as a configuration needs it."""
    package = tmp_path / "zc" / "zrs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "zconfig.py").write_text(MODULE)
    (package / "component.xml").write_text(COMPONENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("zc.zrs", "zc.zrs.zconfig"):
        sys.modules.pop(name, None)
    vars(sys.modules["zc"]).pop("zrs", None)


@pytest.mark.parametrize(
    "sections", [ZRS.format(name=" 1"), f"<demostorage 1>\n{ZRS.format(name='')}</demostorage>\n"]
)
def test_refused(zrs: None, sections: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_server_config(f"%import zc.zrs\n<zeo>\n address 1\n</zeo>\n{sections}")
    assert "<zrs> runs Twisted's reactor itself, and so does this daemon" in str(refused.value)
    assert "leave <zrs> to ZEO's runzeo" in str(refused.value)
