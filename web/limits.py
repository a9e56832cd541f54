"""The bounds of a web worker, under the names that web reads them by; values and effects: config/bounds.py.

Read as `limits.NAME` at the time of use, so that a test can make one small.
"""

from __future__ import annotations

from config.bounds import *  # noqa: F403 - all of them, and nothing else is in there
