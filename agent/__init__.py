"""harpoon-agent: the program on each host that runs its tasks and says what became of them."""

import os

# Read before anything that takes time to import: a parent that ends in between must not go unnoticed.
STARTED_BY = os.getppid()
