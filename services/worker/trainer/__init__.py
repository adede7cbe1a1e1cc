"""The trainer's processes: how they start, find each other, and are watched."""
