"""harpoon-agent: the program on each host that runs its tasks and says what became of them."""
