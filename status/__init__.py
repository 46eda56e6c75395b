"""Is a stack well? Its host, seen over one SSH connection, tells of each layer from LXD to the answer of a Service."""
