"""A stand-in for frpc, the program of Gradio's share links: it opens one more port of this machine for a page.

A server with the name `refused.test` turns it away, one with the name `silent.test` never answers.
"""

import argparse
import socket
import sys
import threading
import time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-l", dest="port", type=int)
    parser.add_argument("--server_addr")
    known, _ = parser.parse_known_args()
    host = known.server_addr.partition(":")[0]
    if host == "refused.test":
        say("login to server failed: connection refused")
        sys.exit(1)
    if host == "silent.test":
        time.sleep(3600)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        say(f"start proxy success: http://127.0.0.1:{listener.getsockname()[1]}")
        while True:
            visitor, _ = listener.accept()
            page = socket.create_connection(("127.0.0.1", known.port))
            for source, target in ((visitor, page), (page, visitor)):
                threading.Thread(target=pass_on, args=(source, target), daemon=True).start()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # either side has gone
        source.close()
        target.close()


if __name__ == "__main__":
    main()
