"""What is due goes out: connections, the open-loop pump, and the process that it runs in."""
