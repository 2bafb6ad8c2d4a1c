"""Runs a program that must not outlive the one that wants it.

    python guard.py PROGRAM [ARGUMENT...]

Says the program's process id in one JSON line on standard output, {"pid": 4711}; then the program's own output follows. Obeys the lines of
its standard input: `interrupt`, `terminate` and `kill` send the program that signal. When standard input closes, because whoever started
this has ended, however it ended, the program is killed. Ends with the program, with its exit status (128 and the signal's number after a signal).
"""

import json
import os
import signal
import subprocess
import sys
import threading

SIGNALS = {b"interrupt": signal.SIGINT, b"terminate": signal.SIGTERM, b"kill": signal.SIGKILL}


def obey(program: subprocess.Popen) -> None:
    for line in sys.stdin.buffer:
        wanted = SIGNALS.get(line.strip())
        if wanted is not None:
            program.send_signal(wanted)
    program.kill()


def main() -> None:
    # Those of the terminal are for the parent, which says what is to be done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # A session of its own: an interrupt at the terminal is not for the program either.
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    print(json.dumps({"pid": program.pid}), flush=True)
    threading.Thread(target=obey, args=(program,), daemon=True).start()
    status = program.wait()
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
