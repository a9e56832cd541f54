#!/bin/sh
# One per task: starts it, outlives the agent, and writes down how the task ended.
#
#   shim.sh DIRECTORY FILES GROUPS ABOVE PROGRAM [ARGUMENT]...
#
# FILES, "soft:hard", are the limits of open files. ABOVE, a word a line, ends with the program `env`, which starts PROGRAM with the task's variables and no others:
# a shell would add PWD and drop names it can't spell. They come on stdin, quoted for a shell, one after the
# other: what may be a secret is on no command line. GROUPS are the task's cgroups, one a line, the one that
# holds all its processes first; the shim itself stays outside.
# It runs in the foreground, because a shell makes background commands ignore INT and QUIT. Signals
# to the group reach this shell too; a handler that does nothing (not "ignore", which the task would
# inherit) lets it live on. What the shell itself says of a task killed by a signal ("Killed") goes
# to DIRECTORY/signaled: $? alone can't tell a signal N from an exit with 128+N. That file and exit.new are
# there, blank, and are written over: a disk that is full by then still takes them.
set -f
trap : HUP INT QUIT PIPE ALRM TERM USR1 USR2
directory=$1
files=$2
groups=$3
above=$4
shift 4
line_end='
'
exec 2<>"$directory/signaled" >/dev/null

# How often the kernel ended a process of the task for want of memory.
count_ooms() {
    ooms=0
    for group in $groups; do
        for file in "$group/memory.events" "$group/memory.oom_control"; do
            [ -r "$file" ] || continue
            while IFS=' ' read -r name count; do
                [ "$name" = oom_kill ] && ooms=$count
            done <"$file"
        done
    done
}

# What the task left behind, in whatever session it is, ends with it.
end_rest() {
    tree=${groups%%"$line_end"*}
    if [ -e "$tree/cgroup.kill" ]; then
        echo 1 >"$tree/cgroup.kill"
        return
    fi
    for group in $groups; do
        [ ! -e "$group/pids.max" ] || echo 0 >"$group/pids.max"
    done
    for pass in 1 2 3; do
        while read -r pid; do
            kill -KILL "$pid"
        done <"$tree/cgroup.procs"
    done
}

# The agent does it where the kernel needs longer.
remove_groups() {
    for pass in 1 2 3 4 5 6 7 8 9 10; do
        left=
        for group in $groups; do
            [ ! -e "$group" ] || left="$left$group$line_end${group%/*}$line_end"
        done
        [ -n "$left" ] || return
        rmdir $left
    done
}

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
        # The arguments of bwrap, with the variables.
        [ ! -e "$directory/args" ] || exec 9<"$directory/args"
        IFS=$line_end
        for group in $groups; do
            echo 0 >"$group/cgroup.procs" || exit 126
        done
        # Last: for a redirection the shell needs a descriptor above 9, which a low limit forbids.
        [ -z "$files" ] || { ulimit -S -n "${files%:*}" && ulimit -H -n "${files#*:}"; }
        exec $above -i -- "$@"
    )
    status=$?
else
    status=never
fi
IFS=$line_end
# From here on nothing is said of the task.
exec 2>/dev/null
[ -z "$groups" ] || count_ooms
echo "$status${ooms:+ $ooms}" 1<>"$directory/exit.new" && mv "$directory/exit.new" "$directory/exit"
[ -z "$groups" ] || { end_rest && remove_groups; }
