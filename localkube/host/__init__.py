"""What this host is asked for: files, sockets, processes, namespaces, control groups."""
