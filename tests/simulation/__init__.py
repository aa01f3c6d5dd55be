"""The real daemon and real clients, in one thread, with everything decided by a seed.

``python -m tests.simulation --seeds 1000`` runs a thousand worlds. A seed that fails is printed,
and fails again in the same way: ``python -m tests.simulation --seed 17``.

What is real: all of `zeotwisted`, ZODB, FileStorage and its file format, and the application's
code. What is simulated, each in a module of its own:

- `scheduler`: which of the waiting tasks goes on, and what the time is.
- `threads`: locks and threads. A thread is a task, and it may be interrupted at each lock.
- `interrupts`: it may also be interrupted between two statements of `zeotwisted`.
- `reactor`: Twisted's reactor, one for each process of the simulated world.
- `network`: connections that split, delay, reset, and fall silent.
- `sockets`: what both ends do with a socket themselves.
- `disk`: files that fail, fill up, and lose what was not synced.

`processes` has the processes of a world: daemons and clients, and `storages` what the daemons
serve. `workload` is what the clients do, `faults` is what goes wrong, and `world` puts all of it
together, and checks the outcome. `seeds` runs worlds, each in a child process, because a killed
process leaves its tasks behind.
"""
