"""Sessions and snapshots: where objects and files are put together before they are published."""
