"""The `nvae` command: what the client does, for people at a terminal and for scripts."""
