"""The runner: one attempt on one node, in a process of its own."""
