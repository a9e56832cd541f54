"""`harpoonctl`, the command line: reads job files, speaks /api/v1, shows what the scheduler knows."""
