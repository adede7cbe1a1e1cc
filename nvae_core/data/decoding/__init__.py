"""Image files become arrays of bytes in processes of their own, bounded in memory and time."""
