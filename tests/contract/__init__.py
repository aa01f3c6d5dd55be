"""The contract: ZODB's own storage tests over the network.

``matrix.py`` says what is run and ``exclusions.py`` what is not, and why. ``case.py`` makes test
cases of both, and ``test_<storage>.py`` show them to pytest, one module per kind of storage.
``test_blobs.py`` runs ZODB's tests of blobs, which are made in another way.

With ``CONTRACT_BASELINE=1`` in the environment the same cases run with ZEO's client and ZEO's
server, without zeotwisted. A case that fails there too says nothing about zeotwisted.
"""
