"""Starts moto's server for the lab.

    python lab_moto.py [--plain]

It binds 127.0.0.1 on a free port and says so in one JSON line on standard output: {"port": 40123}. It ends when its standard input
closes, so that it cannot outlive the process that started it, however that process ends. `--plain` leaves out the lab's extension.
"""

import argparse
import functools
import json
import logging
import os
import signal
import socket
import sys
import threading


def end_with_parent() -> None:
    """Waits for the end of standard input, which the parent holds open, then ends this process."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def remember_backends(application) -> None:
    """Which backend serves a host is looked up once. Moto lists its own folder for each request, in a lock that all requests wait for: some
    two hundred system calls, at each of which another thread may take the interpreter."""
    from moto import backends
    from moto.core import responses

    modules = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    application.get_backend_for_host = functools.lru_cache(maxsize=4096)(application.get_backend_for_host)
    # And which operations a class of answers has: moto inspects the whole class for each call.
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true", help="moto as it is, without the lab's extension")
    arguments = parser.parse_args()
    # An interrupt is for the parent: this program ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()

    # The socket comes first: moto reads its own port from MOTO_PORT (Step Functions calls back into it).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    port = listener.getsockname()[1]
    os.environ["MOTO_PORT"] = str(port)
    os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")

    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Headers and body are written apart; without this each answer on a kept connection waits 40 ms for an acknowledgement.
    MotoRequestHandler.disable_nagle_algorithm = True
    application = DomainDispatcherApplication(create_backend_app)
    remember_backends(application)
    if not arguments.plain:
        import extension

        application = extension.install(application)
    server = make_server(
        "127.0.0.1", port, application, threaded=True, request_handler=MotoRequestHandler, fd=listener.fileno()
    )
    server.daemon_threads = True
    print(json.dumps({"port": port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
