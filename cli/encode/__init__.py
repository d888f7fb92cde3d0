"""``layerlab encode``: caption caches that trainers read."""
