"""Every bound of a web worker, and what happens when it is reached."""

from __future__ import annotations

# Bodies: a longer one is answered with 413. It is read and thrown away first, so that the client gets
# to see the answer; beyond LARGEST_DRAINED_BYTES the connection is closed instead.
LARGEST_BODY_BYTES = 1024 * 1024
LARGEST_DRAINED_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 10.0
# A snapshot to restore is larger than other bodies; beyond this, 413 and the connection is closed.
LARGEST_SNAPSHOT_BYTES = 64 * 1024 * 1024
# Snapshots that a worker takes in at a time; one more is answered with 503.
MOST_RESTORES = 1
# How long a client may take to send its body, before 408.
BODY_SECONDS = 30.0
# Problems that one reply names; the rest is counted.
MOST_PROBLEMS = 50
# A value that is quoted in an error is cut here.
LONGEST_SHOWN = 200

# Idempotency-Key: a longer one is answered with 400.
LONGEST_REQUEST_ID = 128
# ?wait= on a GET: a longer one is cut to this.
LONGEST_WAIT_SECONDS = 60.0
DEFAULT_WAIT_SECONDS = 30.0
# Requests that wait for a version at the same time; one more is answered with 503.
MOST_WAITERS = 10_000

# How long a write waits for its answer, and for this worker's replica to show it; then the outcome is
# unknown (503, safe to repeat).
SUBMIT_SECONDS = 10.0
# Retry-After of replies with 503.
RETRY_SECONDS = 1

# Events: one more watcher is answered with 503. A watcher that is further behind than the ring gets a
# snapshot instead.
MOST_WATCHERS = 2_000
EVENTS_KEPT = 10_000
KEEP_ALIVE_SECONDS = 15.0
# A watcher that has not taken what it was sent for this long is cut off; it may come back.
STUCK_SECONDS = 60.0
# How many positions watchers share the bytes of; the others' are made for each of them.
BATCHES_SHARED = 16
# Changes are collected this long before watchers are woken, longer the more of them there are.
COLLECT_SECONDS = 0.02
COLLECT_SECONDS_PER_WATCHER = 0.0002

# Logs: one more follower, or reader, at a time is answered with 503.
MOST_FOLLOWERS = 64
MOST_LOG_READERS = 16
LONGEST_HISTORY_LINES = 10_000
LARGEST_LOG_BYTES = 8 * 1024 * 1024
LONGEST_LOG_LINE_BYTES = 256 * 1024
LOG_CONNECT_SECONDS = 3.0
LOG_READ_SECONDS = 10.0
# Chunks of a followed log on their way to a client; the agent is read no further until it takes them.
LOG_CHUNKS_BUFFERED = 64

# Replies smaller than this are not worth compressing.
SMALLEST_COMPRESSED_BYTES = 1024
# Request ids that the in-memory cluster remembers; the oldest is forgotten.
REQUEST_IDS_KEPT = 10_000
