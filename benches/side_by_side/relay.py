"""A listener that passes everything on to a daemon and counts the bytes of both directions."""

import socket
import threading

CHUNK = 1 << 16


class Relay:
    """Stands for the daemon behind it: has a `port`."""

    def __init__(self, daemon):
        self.behind = daemon.port
        self.sent = self.received = 0

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # Closing alone does not wake a thread that waits in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            daemon = socket.create_connection(("127.0.0.1", self.behind))
            threading.Thread(target=self.copy, args=(client, daemon, "sent"), daemon=True).start()
            threading.Thread(target=self.copy, args=(daemon, client, "received"), daemon=True).start()

    def copy(self, source, target, counter):
        """One thread a direction; jobs come one after another, so nobody else adds to this counter."""
        try:
            while piece := source.recv(CHUNK):
                setattr(self, counter, getattr(self, counter) + len(piece))
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
