"""The daemon: storages served to any number of clients. See `service.StorageServer`."""
