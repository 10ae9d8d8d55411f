"""The life of incidents in the state file, and what is queued about it."""
