"""The tests of zeotwisted."""
