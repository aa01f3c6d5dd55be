"""Several daemons over one PostgreSQL: real processes, and all that may happen to them."""
