"""Attacks on a daemon, mounted one after the other while well-behaved clients work.

``python -m tests.attack`` prints what those clients notice, and what is left when the attacker has
gone. ``test_attack`` runs a short form of it, and checks what does not depend on time.

`attacks` has the attacks. `attacker`, `workload` and `victim` run them, the clients and the daemon
in processes of their own. `siege` puts them together.
"""
