"""The node: its agent, its slots and folders, how runners are started."""
