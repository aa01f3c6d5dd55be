"""Each step by which we reach the disk is made to fail, or to be the last one before a kill.

For each operation that writes files there are two loops. One has the n-th step fail, the other one
ends the process at the n-th step. Both begin with n = 1 and a fresh folder, and go on until the
operation is over before its n-th step. After each attempt the operation is checked: what was
answered is there, what was refused is not, and nothing is torn or left behind.

`steps` counts the steps and makes them fail. `loops` has the two loops. The operations are in
`commits`, `spools`, `caches`, `blobs` and `wholefiles`. ``python -m tests.anomaly`` prints what was
tried; ``--all`` tries more kinds of faults.

The product has no queue of commits that outlives a process, and makes no backups, so there are no
loops for them.
"""
