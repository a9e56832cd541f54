"""Seeded simulation of the whole scheduler: the real actors and rules, in virtual time, under faults."""
