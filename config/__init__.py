"""Settings: their defaults, and where they come from."""
