"""From a finished run to what is deployed: packed tables, and checkpoints that are checked before they are read."""
