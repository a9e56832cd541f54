"""Every bound of the programs: what may be as large, as many or as long as how much, and what then happens.

Above each stands `unit: what it bounds → what happens when it is reached`; docs/bounds.md is made of that
(`make docs`). Pure data that imports nothing, so that every package may import it; a test looks for others.
"""

# --- rules ---

# versions: versions of jobs in the registry → 409 for one more
MOST_VERSIONS = 50_000
# tasks: `scale` of a job → 400
LARGEST_SCALE = 1000
# ports: ports of a job → 400
MOST_PORTS = 256
# processes: `limits.pids` of a job → 400
LARGEST_PIDS = 4_194_304
# restarts: `restart_limit` of a job → 400
LARGEST_RESTART_LIMIT = 1000
# cores: `limits.cpu` of a job, at the least → 400
SMALLEST_CPU_LIMIT = 0.01
# checks: health checks of a job → 400
MOST_HEALTH_CHECKS = 32
# failures: `unhealthy_after` of a job → 400
LARGEST_UNHEALTHY_AFTER = 100
# jobs: jobs that one depends on → 400
MOST_DEPENDENCIES = 32
# plans: plans that a web worker makes at a time → 503
MOST_PLANS = 2
# rounds: steps that a plan looks ahead → the plan says that it is not complete
PLAN_ROUNDS = 300
# versions: earlier versions of a job that are kept → the oldest go
VERSIONS_KEPT = 10
# migrations: migrations of a job that are over and still told of → the oldest go
ENDED_KEPT = 5
# failures: failures of one task of the new version → the migration to it has failed
MOST_FAILURES = 2
# restarts: restarts of one task of the new version by its agent → the migration to it has failed
MOST_RESTARTS = 3
# characters: the name of an agent in a snapshot → 400
LONGEST_AGENT_NAME = 200
# characters: a value that a problem of a config quotes → it is cut
LONGEST_VALUE_SHOWN = 80
# characters: a duration as text → 400
LONGEST_DURATION = 64
# constraints: constraints of a job → 400
MOST_CONSTRAINTS = 32
# repeats: what a constraint's pattern may repeat, `*`, `+` or `{` → 400
MOST_REPEATS = 2
# characters: a label or an attribute of an agent → 400, or cut where an agent reports it
LONGEST_LABEL = 256
# labels: labels of an agent → 400
MOST_LABELS = 64
# s: how long an agent may be drained before everything goes → 400
LONGEST_DRAIN_SECONDS = 168 * 3600.0
# s: an agent that registers itself renews that so often → it is asked to in each answer
RENEWAL_SECONDS = 10.0
# s: an agent without tasks that has not renewed its registration → it is taken out
REGISTRATION_SECONDS = 600.0
# s: pause before an agent tries again to register → the pause grows no further
LONGEST_REGISTRATION_PAUSE_SECONDS = 30.0
# s: time for one request of an agent to register → it is tried again
REGISTRATION_REQUEST_SECONDS = 5.0
# s: time for the last one, when the agent ends → it ends all the same
DEREGISTRATION_SECONDS = 1.5
# characters: the identity that an agent registers with → 400
LONGEST_IDENTITY = 64
# bytes: an answer to an agent that registers → the rest is not read
LARGEST_REGISTRATION_ANSWER_BYTES = 65_536
# characters: what the scheduler says of a registration, in the agent's log → it is cut
LONGEST_REGISTRATION_DETAIL = 500
# s: time for a rebalance that names no deadline → what has not begun to move stays
REBALANCE_SECONDS = 1800.0
# moves: tasks that one rebalance moves → the next one moves more
MOST_MOVES = 200
# names: names in one answer of the registry → the rest is counted
MOST_NAMED = 10
# agents: agents that say why a task waits → the nearest misses stay, others are counted
MOST_REFUSALS_SHOWN = 20
# reasons: kinds of reasons in the sentence why a task waits → the agents of others are counted together
MOST_GROUPS_NAMED = 4
# agents: agents that a task waits for, by name → others are not named
MOST_NAMED_AGENTS = 3
# refusals: requests of a task refused in a row → it is given up there and placed again
MOST_REFUSALS = 3
# s: pause before a task that failed is placed again → the pause grows no further
LONGEST_FAILURE_PAUSE_SECONDS = 300.0
# requests: requests to one agent at a time → the next one waits
REQUESTS_IN_FLIGHT = 16
# s: a state machine gathers what an agent with requests under way answers → it reports that much
LONGEST_ROUND_SECONDS = 0.5
# s: an agent with requests under way is silent → its state machine reports what it has gathered
LONGEST_ROUND_PAUSE_SECONDS = 0.3
# state machines: of a flock at a time with commands they have not reported on → the others' commands wait
BUSY_MACHINES = 4
# s: pause before a refused request is sent again → the pause grows no further
LONGEST_RETRY_SECONDS = 30.0
# lines: lines of its log that are told of a task that failed → the last ones are told
FAILURE_LINES_SHOWN = 5
# characters: each of these lines → it is cut
LONGEST_FAILURE_LINE = 200
# containers: generations remembered of an agent's forgotten containers → the oldest go
FORGOTTEN_KEPT = 4096
# bytes: one event of a stream → the stream is broken off and connected again
LARGEST_EVENT_BYTES = 64 * 1024 * 1024
# bytes: the words of a command to run in a task → it is refused
EXEC_COMMAND_BYTES = 64 * 1024
# words: these words → it is refused
EXEC_MOST_WORDS = 1000
# cells: rows and columns of a terminal → it is refused, or the command is ended
EXEC_LARGEST_WINDOW = 10_000
# characters: the name of a terminal's kind → the command is refused
LONGEST_TERM = 64
# bytes: a message to or from a command that runs in a task → it is ended
EXEC_MESSAGE_BYTES = 128 * 1024
# bytes: stdin on its way to a command that runs in a task → its client reads on when some was taken
EXEC_WINDOW_BYTES = 128 * 1024
# s: wait for the request on a connection to run a command → it is closed
EXEC_REQUEST_SECONDS = 10.0
# s: wait for the acknowledgement of an update → the subscriber is dropped, and subscribes again
ACKNOWLEDGE_SECONDS = 60.0

# --- actors ---

# bytes: one message between actors → its connection is closed
LARGEST_MESSAGE_BYTES = 256 * 1024 * 1024
# bytes: messages to one actor that have come in part, together → the connection that brings more is closed
MOST_UNREAD_BYTES = 512 * 1024 * 1024
# s: arrival of one message between actors → its connection is closed
MESSAGE_SECONDS = 60.0
# s: age of a message between actors, by its signature → it is refused
OLDEST_MESSAGE_SECONDS = 300.0
# messages: messages of an actor on their way at a time → the next one is queued
MOST_TRANSMITS = 500
# messages: messages kept until an actor is wired → dropped; senders send them again
EARLY_MESSAGES = 1000
# answers: request ids kept on disk with their answers → the oldest go; such a repeat is done again
REQUESTS_KEPT = 100_000
# s: large jobs wait for others that come with them → those that have come are placed
LONGEST_GATHERING_SECONDS = 0.3
# writes: writes of the scheduler in one commit → the rest follows in the next round
WRITES_A_BATCH = 20_000
# s: wait for an agent's echo of a command, however slow echoes are → the command is sent again
LONGEST_ECHO_SECONDS = 60.0
# s: proofs of absence that nobody needs are kept until it is quiet → they are forgotten while it is not
LONGEST_KEPT_SECONDS = 60.0
# configs: read from reports and kept, to have each once → the one not used for longest is read again
CONFIGS_UNPACKED = 4096
# configs: of an agent's events, kept to read each once → the one not used for longest is read again
CONFIGS_SEEN = 128
# bytes: read of one connection to an agent in one go → the rest waits, the agent too
AGENT_READ_BYTES = 64 * 1024
# bytes: the head of an agent's reply → it counts as unanswered
LARGEST_REPLY_HEAD_BYTES = 64 * 1024
# bytes: an agent's reply to a request → the rest is not read
LARGEST_REPLY_BYTES = 64 * 1024
# s: pause before an agent's stream is connected again → the pause grows no further
LONGEST_RECONNECT_SECONDS = 5.0
# s: pause before an actor that died is made anew → the pause grows no further
LONGEST_RESTART_SECONDS = 10.0
# s: life after which earlier deaths of an actor are forgotten → its next death counts as the first
RECOVERED_SECONDS = 60.0
# starts: ends in a row of web or the Supervisor → the launcher gives up, exit code 1
MOST_STARTS = 10
# s: pause before web, the Supervisor or a member's actors are started anew → the pause grows no further
LONGEST_START_PAUSE_SECONDS = 2.0
# agents: the setting `flock_size` → the start is refused
LARGEST_FLOCK = 200
# state machines: of a flock that were made and have not said a word yet → the next ones are made later
MACHINES_STARTING = 2
# s: first word of an actor that was made, while others of its parent come up → it is made anew
LONGEST_FIRST_WORD_SECONDS = 30.0
# flocks: the setting `flocks`, flocks of one host → the start is refused
MOST_FLOCKS = 400
# members: hosts beside the leader, lost ones too → the longest lost is forgotten, or one more is not used
MOST_MEMBERS = 64
# zones: zones by which agents are spread over flocks → agents of further ones are taken for agents of none
MOST_ZONES = 64
# s: a send of an actor admin to a silent host → it is sent again, on a new connection
SILENT_SEND_SECONDS = 6.0
# s: an answer of the leader to one who wants to join → it counts as unreachable, and is asked again
LEADER_ANSWER_SECONDS = 2.0
# s: pause of `join` before a leader that is unreachable is tried again → the pause grows no further
LONGEST_JOIN_PAUSE_SECONDS = 5.0
# bytes: an answer of the leader to one who wants to join → it counts as unreachable
LARGEST_LEADER_ANSWER_BYTES = 4 * 1024 * 1024
# agents: agents in the agents file → the file is refused, those known stay
MOST_AGENTS = 10_000
# bytes: the agents file → the file is refused, those known stay
LARGEST_AGENTS_FILE_BYTES = 4 * 1024 * 1024

# --- web ---

# bytes: the body of a request → 413
LARGEST_BODY_BYTES = 1024 * 1024
# bytes: a snapshot to restore → 413
LARGEST_SNAPSHOT_BYTES = 64 * 1024 * 1024
# bytes: a too large body, read so that its client sees the 413 → the connection is closed
LARGEST_DRAINED_BYTES = 64 * 1024 * 1024
# s: time for that → 408
DRAIN_SECONDS = 10.0
# s: arrival of a body → 408
BODY_SECONDS = 30.0
# bodies: bodies that a worker reads at a time → 503, Retry-After
MOST_BODIES = 256
# snapshots: snapshots that a worker takes in at a time → 503, Retry-After
MOST_RESTORES = 1
# digits: a whole number in a body → it is taken for no whole number: 400
LONGEST_NUMBER = 40
# problems: problems that one reply names → the rest is counted
MOST_PROBLEMS = 50
# characters: a value that is quoted in an error → it is cut
LONGEST_SHOWN = 200
# characters: a list or object that is quoted in an error → it is cut
LONGEST_SHOWN_COLLECTION = 60
# characters: Idempotency-Key → 400
LONGEST_REQUEST_ID = 128
# writes: changes that wait in a worker for the registry → 503, Retry-After; nothing has changed
MOST_WRITES_WAITING = 1_000
# changes: changes of a worker in one commit → the rest goes with the next
MUTATIONS_A_BATCH = 1000
# s: wait of a change for its turn → 503, Retry-After; nothing has changed
WRITE_QUEUE_SECONDS = 10.0
# s: wait for the registry's answer → 503, Retry-After; the outcome is unknown
WRITE_ANSWER_SECONDS = 10.0
# s: wait until the worker itself sees a change → 503, Retry-After; the outcome is unknown
WRITE_VISIBLE_SECONDS = 5.0
# s: Retry-After of a 503 → it is tried again no sooner
RETRY_SECONDS = 1
# s: `?wait=` of a GET → it is cut to this
LONGEST_WAIT_SECONDS = 60.0
# s: a GET with `?index=` and no `?wait=` → it is answered as it is
DEFAULT_WAIT_SECONDS = 30.0
# requests: GETs that wait for a version → 503, Retry-After
MOST_WAITERS = 10_000
# watchers: watchers of `/api/v1/events` of a worker → 503, Retry-After
MOST_WATCHERS = 2_000
# names: changes that a watcher may be behind → it gets a snapshot
EVENTS_KEPT = 10_000
# s: silence of an event stream → a comment is sent
KEEP_ALIVE_SECONDS = 15.0
# s: time that a watcher takes to read what it was sent → it is cut off
STUCK_SECONDS = 60.0
# positions: positions of which watchers share the bytes → those of others are made for each
BATCHES_SHARED = 16
# s: collecting of changes before watchers are woken → they are woken
COLLECT_SECONDS = 0.02
# s: the same, for each watcher more → they are woken
COLLECT_SECONDS_PER_WATCHER = 0.0002
# followers: logs that a worker follows → 503, Retry-After
MOST_FOLLOWERS = 64
# readers: logs that a worker reads at a time → 503, Retry-After
MOST_LOG_READERS = 16
# lines: `?history=` of a log → 400
LONGEST_HISTORY_LINES = 10_000
# bytes: the log that an agent hands out at once → 502
LARGEST_LOG_BYTES = 8 * 1024 * 1024
# bytes: an event of a followed log → the stream ends
LONGEST_LOG_LINE_BYTES = 256 * 1024
# s: connecting to an agent for a log → 504
LOG_CONNECT_SECONDS = 3.0
# s: an agent's answer about a log → 504
LOG_READ_SECONDS = 10.0
# searches: logs of tasks that are gone that a worker searches for at a time → 503, Retry-After
MOST_LOG_SEARCHES = 2
# agents: agents asked for the log of a task that is gone → the rest has to be named with `?agent=`
MOST_AGENTS_ASKED = 200
# agents: agents asked for it at a time → the next one waits
LOG_SEARCHERS = 4
# s: the search for it → what was found until then counts
LOG_SEARCH_SECONDS = 10.0
# signals: signals to tasks that a worker sends at a time → 503, Retry-After
MOST_SIGNALS = 8
# commands: commands in tasks that a worker passes on at a time → 503
MOST_EXECS = 64
# s: the orderly end of a connection to an agent about a command → it is closed all the same
EXEC_CLOSE_SECONDS = 2.0
# chunks: pieces of a followed log on their way to a client → the agent is read no further for now
LOG_CHUNKS_BUFFERED = 64
# bytes: a reply that is compressed, at the least → a smaller one is sent as it is
SMALLEST_COMPRESSED_BYTES = 1024
# answers: request ids of the in-memory cluster → the oldest go
REQUEST_IDS_KEPT = 10_000
# actors: actors of a kind that `/health/ready` names as dying → the rest is counted
MOST_TROUBLED_SHOWN = 50
# agents: agents that `/api/v1/brake` names → the rest is counted
MOST_HELD_SHOWN = 100

# --- agent ---

# bytes: the body of a request → 413
AGENT_BODY_BYTES = 1024 * 1024
# items: containers in one request of the batch extension → 413
AGENT_BATCH_ITEMS = 100
# characters: what is told of one item of a batch → the rest is cut off
AGENT_RESULT_CHARACTERS = 300
# watchers: event streams of an agent, one for each scheduler → 503, Retry-After
AGENT_MOST_WATCHERS = 64
# followers: logs of an agent that are read along → 503, Retry-After
AGENT_MOST_FOLLOWERS = 256
# s: Retry-After of a 503 → it is tried again no sooner
AGENT_RETRY_SECONDS = 1
# connections: connections that are not accepted yet → the kernel refuses or delays them
AGENT_CONNECTIONS_WAITING = 1024
# bytes: each of the two files of a task's log → the older one goes
AGENT_LOG_BYTES = 5 * 1024 * 1024
# files: what an agent may open besides one for each task → with fewer left, it takes no more tasks
AGENT_OWN_FILES = 512
# bytes: output of a task that was not read yet → it is lost, and a line says so
AGENT_LOG_BACKLOG_BYTES = 5 * 1024 * 1024
# bytes: output of a task read at once → the rest is read next
AGENT_LOG_READ_BYTES = 1024 * 1024
# bytes: a line of a log → it is broken there
AGENT_LOG_LINE_BYTES = 64 * 1024
# lines: `?history=` of a log → it is cut to this
AGENT_HISTORY_LINES = 10_000
# lines: lines that a reader of a log has not taken → the rest is lost, and a line says how many
AGENT_LINES_WAITING = 1000
# commands: commands that an agent runs beside tasks at a time → 503
AGENT_MOST_EXECS = 32
# s: wait for a task that has just been started, to run a command beside it → 409
EXEC_BEGIN_SECONDS = 2.0
# s: silence of such a command and of its client → it is ended
EXEC_IDLE_SECONDS = 3600.0
# artifacts: artifacts fetched from one host at a time → the next one waits
MOST_FETCHES = 4
# hosts: hosts with turns of their own → others share the turns of the first
MOST_ARTIFACT_HOSTS = 64
# bytes: an artifact as it is downloaded → it is refused, and the task has failed there
ARTIFACT_DOWNLOAD_BYTES = 4 * 1024**3
# bytes: an artifact when it is unpacked → it is refused, and the task has failed there
ARTIFACT_UNPACKED_BYTES = 16 * 1024**3
# members: files, directories and links of an artifact → it is refused, and the task has failed there
ARTIFACT_MEMBERS = 200_000
# s: the download of an artifact → it is given up, and the task has failed there
ARTIFACT_SECONDS = 1800.0
# times: an unpacked artifact to its archive, past the next bound → it is refused, and the task has failed
ARTIFACT_RATIO = 200
# bytes: an unpacked artifact of which nobody asks how small its archive was → beyond, the ratio counts
ARTIFACT_RATIO_FREE_BYTES = 256 * 1024**2
# attempts: requests for an artifact in a row that brought nothing → given up, and the task has failed there
ARTIFACT_ATTEMPTS = 3
# redirects: from the URL of an artifact to where it is → it is refused, and the task has failed there
ARTIFACT_REDIRECTS = 10
# bytes: memory for the window of a zstd or xz archive → the artifact is refused
ARCHIVE_WINDOW_BYTES = 128 * 1024**2
# bytes: what an archive's header has its reader read at once → the artifact is refused
ARCHIVE_READ_BYTES = 16 * 1024 * 1024
# bytes: all headers of a tar archive, besides those that each member may have → the artifact is refused
ARCHIVE_HEADER_BYTES = 1024 * 1024
# bytes: the headers of each member of a tar archive, on average → the artifact is refused
ARCHIVE_MEMBER_HEADER_BYTES = 4096
# characters: a path or a link in an archive → the artifact is refused
LONGEST_ARCHIVE_NAME = 1024
# MB: the memory limit of a task, at the least → a smaller one is raised to this: programs begin with more
SMALLEST_MEMORY_LIMIT_MB = 16
# MB: what is added to the memory limit of a task with the driver oci, for runc → it counts as the task's
OCI_OVERHEAD_MB = 16
# processes: what is added to the limit of processes of such a task, for runc → they count as the task's
OCI_OVERHEAD_PIDS = 32
# processes: processes and threads of a task whose job does not limit them → it can't make more
AGENT_TASK_PIDS = 4096
# s: wait for the kernel to end what is left of a task's processes → its cgroup stays until the next try
CGROUP_EMPTY_SECONDS = 2.0
# s: pause before a task that ended is started again → the pause grows no further
LONGEST_RESTART_DELAY_SECONDS = 30.0
# checks: health checks that an agent carries out at a time → the next one waits for its turn
HEALTH_CHECKS_AT_ONCE = 64
# s: pause between two health checks of a kind, at the least → a shorter `interval` is taken for this
SHORTEST_HEALTH_INTERVAL_SECONDS = 0.1
# bytes: the first line of a task's answer to a health check → the check has failed
HEALTH_REPLY_LINE_BYTES = 4096
# characters: what is told of a failed health check → it is cut
LONGEST_HEALTH_TEXT = 200

# --- harpoonctl ---

# attempts: tries of a change whose outcome is unknown → exit code 3
ATTEMPTS = 5
# s: connecting to the scheduler → exit code 3, or the next try
CTL_CONNECT_SECONDS = 5.0
# s: pause between tries, also by Retry-After → the pause grows no further
CTL_LONGEST_PAUSE_SECONDS = 5.0
# bytes: an answer of the scheduler → exit code 3
LARGEST_ANSWER_BYTES = 512 * 1024 * 1024
# s: pause before the event stream is asked for again → the pause grows no further
FEED_LONGEST_PAUSE_SECONDS = 4.0
# events: events of `--wait` that were not looked at yet → the stream is read no further for now
MOST_NEWS_HELD = 1000
# values: values in a YAML file, aliases counted → the file is refused
MOST_VALUES = 100_000
# levels: depth of a YAML file → the file is refused
DEEPEST = 50
# lines: tasks named when a wait fails → the rest is not named
MOST_REASONS_SHOWN = 20
# lines: lines of each kind before a restore → the rest is counted
MOST_DIFFERENCES_SHOWN = 50
# agents: agents that a plan names for each kind of change → the rest is counted
MOST_PLACES_SHOWN = 40
# characters: a value that is quoted in an error → it is cut
CTL_LONGEST_SHOWN = 80
