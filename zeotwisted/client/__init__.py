"""The storage that applications use."""
