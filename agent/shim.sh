#!/bin/sh
# One per task: starts it, outlives the agent, and writes down how the task ended.
#
#   shim.sh DIRECTORY FILES ENV PROGRAM [ARGUMENT]...
#
# ENV is the program `env`, which starts PROGRAM with the task's variables and no others: a shell would
# add PWD and drop names it can't spell. They come on stdin, quoted for a shell, one after the other:
# what may be a secret is on no command line.
# It runs in the foreground, because a shell makes background commands ignore INT and QUIT. Signals
# to the group reach this shell too; a handler that does nothing (not "ignore", which the task would
# inherit) lets it live on. What the shell itself says of a task killed by a signal ("Killed") goes
# to DIRECTORY/signaled: $? alone can't tell a signal N from an exit with 128+N.
trap : HUP INT QUIT PIPE ALRM TERM USR1 USR2
directory=$1
files=$2
env=$3
shift 3
exec 2>"$directory/signaled" >/dev/null

# The agent writes our pid to disk first, then lets us go. No word means it died before that.
read -r go || go=never
if [ "$go" = go ]; then
    # No program but the task may be started here: the agent takes a child for the task itself.
    variables=
    while IFS= read -r line; do
        variables="$variables$line
"
    done
    # Without its last line end: what follows is of the same command.
    eval "set -- ${variables%?}" '"$@"'
    (
        exec </dev/null >>"$directory/output" 2>&1
        [ "$files" -eq 0 ] || ulimit -n "$files"
        exec "$env" -i -- "$@"
    )
    status=$?
else
    status=never
fi
echo "$status" >"$directory/exit.new" && mv "$directory/exit.new" "$directory/exit"
