"""Which version of harpoon this is: what is shown, and what the hosts of a convention must agree on."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "harpoon-scheduler"


def version() -> str:
    """The version of the program that is installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
