"""Configuration files: the ZConfig schemas of the server and of the client storage."""
