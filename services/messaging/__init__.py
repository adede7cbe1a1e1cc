"""The broker: doorbells for nodes, and counts that the API's processes share."""
