"""A daemon on each host: applications, a host's daemon, and the daemon with the storage.

All of them are processes of their own, and can be killed and started again at the same addresses.
"""
