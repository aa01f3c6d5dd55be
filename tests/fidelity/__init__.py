"""ZEO's own tests with one of its ends replaced by ours.

They come from ZEO's source distribution, and nothing of them is kept here. ``fetch.py`` gets it.
``child.py`` runs tests in a process of their own, where ``swaps.py`` has replaced ZEO's daemon or
its client. ``run.py`` starts such processes and collects what became of each test, and
``expectations.py`` lists the tests that cannot pass, and why.

``test_fidelity.py`` fails if a listed test passes or another one fails. For the figures::

    python -m tests.fidelity
"""
