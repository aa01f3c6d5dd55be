"""Lets twistd and twist know of ``zeo``; they import the rest when it is asked for."""

from twisted.application.service import ServiceMaker

zeo = ServiceMaker("ZODB storage server", "zeotwisted.tap", "Serve ZODB storages.", "zeo")
