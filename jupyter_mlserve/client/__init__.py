"""The HTTP client: finds the server, publishes, calls and manages services."""
