"""The part of Zope's configuration that has to do with databases."""

from __future__ import annotations

#: A schema with the section ``<zodb_db>``, as Zope defines it.
ZOPE_SCHEMA = """\
<schema>
  <import package="ZODB"/>
  <sectiontype name="zodb_db" extends="zodb">
    <multikey name="mount-point" attribute="mount_points"/>
  </sectiontype>
  <multisection type="zodb_db" name="*" attribute="databases"/>
</schema>
"""
