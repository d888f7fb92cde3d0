"""A process that imports once and then forks a child for every line it reads.

A start of `layerlab profile` is mostly imports. A forked child does the same work from its first
line on, so many kills fit into the time of a few. Parts of the protocol are JSON, one line each:
{"run": [module, function, arguments], "log": file} starts a child and answers its pid;
{"wait": pid} answers how it ended, as `os.waitstatus_to_exitcode` puts it. When its input ends, be
it that the process that reads the answers was killed, it kills the children that nobody waited for.
"""

import importlib
import json
import os
import signal
import sys
import traceback


def be_child(task):
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    module, function, arguments = task["run"]
    status = 70
    try:
        status = int(getattr(importlib.import_module(module), function)(arguments) or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main(preloaded):
    for name in preloaded:
        importlib.import_module(name)
    import torch

    # A thread pool would not survive the fork.
    torch.set_num_threads(1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    children = set()
    try:
        for line in sys.stdin:
            task = json.loads(line)
            if "wait" in task:
                answer = os.waitstatus_to_exitcode(os.waitpid(task["wait"], 0)[1])
                children.discard(task["wait"])
            else:
                answer = os.fork()
                if not answer:
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    be_child(task)
                children.add(answer)
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
