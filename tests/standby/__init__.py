"""Standbys: real daemons, killed at any moment, and what is left of the data."""
