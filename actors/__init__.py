"""The boxes of the picture in README.md, each an actor: thin shells around the rules in `scheduling`."""
