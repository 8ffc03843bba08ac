"""The listening socket: encrypted (CURVE), open to this run's key alone, bounded.

CURVE by itself admits any key; who may come in is decided by an authenticator (ZAP), which here runs in the thread
that listens.
"""

from __future__ import annotations

import socket as sockets
import time
from typing import Any

from resmon.distributed.bell import Bell
from resmon.distributed.connection import Connection
from resmon.distributed.messages import MAX_BYTES
from resmon.errors import ListenError

QUEUE = 64
"""Messages that wait for one rank, either way; what is beyond is not sent."""
HEARTBEAT_S = 5.0
REST_S = 0.01
_ZAP = "inproc://zeromq.zap.01"
_DOMAIN = b"resmon"
_WILDCARDS = ("0.0.0.0", "::", "*")  # noqa: S104 - names to recognise, nothing is bound here


class Gate:
    """A bound ROUTER and its authenticator. Made in one thread, used and closed in another; ``wake`` in any.

    Raises ListenError where pyzmq is missing, or the address cannot be had.
    """

    def __init__(self, host: str, port: int, advertise: str | None = None) -> None:
        try:
            import zmq
            from zmq.utils import z85
        except ImportError:
            raise ListenError("ranks are heard through ZeroMQ: pip install pyzmq") from None
        if type(port) is not int or not 0 <= port <= 65_535:
            raise ListenError(f"port must be a whole number from 0 to 65535, 0 for any free one, not {port!r}")
        self._zmq: Any = zmq
        self.strangers = 0
        self._context = zmq.Context()
        self._server_public, server_secret = (key.decode() for key in zmq.curve_keypair())
        self._client_public, self._client_secret = (key.decode() for key in zmq.curve_keypair())
        self._allowed = z85.decode(self._client_public)
        self._bell = Bell()
        try:
            self._zap = self._context.socket(zmq.REP)
            self._zap.linger = 0
            self._zap.bind(_ZAP)
            self._router = self._context.socket(zmq.ROUTER)
            self._listen(server_secret, host, port)
        except zmq.ZMQError as error:
            self.close()
            raise ListenError(
                f"cannot listen for ranks on {host}:{port or 'a free port'}: {zmq.strerror(error.errno or 0)}; "
                "another port or port=0 (any free one), and an address of this machine, would do"
            ) from None
        bound = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(bound.rpartition(":")[2])
        shown = advertise or (sockets.getfqdn() if host in _WILDCARDS else host)
        self._endpoint = f"tcp://{_bracketed(shown)}:{self.port}"
        self._poller = zmq.Poller()
        for source in (self._router, self._zap, self._bell):
            self._poller.register(source, zmq.POLLIN)

    def _listen(self, secret: str, host: str, port: int) -> None:
        router = self._router
        router.linger = 0
        router.ipv6 = ":" in host
        router.curve_server = True
        router.curve_secretkey = secret.encode()
        router.zap_domain = _DOMAIN
        router.sndhwm = router.rcvhwm = QUEUE
        router.maxmsgsize = MAX_BYTES
        router.handshake_ivl = 5_000
        router.heartbeat_ivl = round(HEARTBEAT_S * 1000)
        router.heartbeat_timeout = round(3 * HEARTBEAT_S * 1000)
        router.router_handover = True
        router.bind(f"tcp://{_bracketed(host)}:{port or '*'}")

    def connection(self, run_id: str) -> Connection:
        """What a rank needs to come in."""
        return Connection(
            run_id=run_id,
            endpoints=(self._endpoint,),
            server_public=self._server_public,
            client_public=self._client_public,
            client_secret=self._client_secret,
        )

    def wait(self, *, rest: bool = False) -> None:
        """Sleep until something arrives or ``wake`` is called; whoever knocks is admitted or turned away here.

        rest: wait a little longer for what comes meanwhile: waking up costs more than a message.
        """
        ready = dict(self._poller.poll())
        if self._zap in ready:
            self._authenticate()
        if self._bell.fileno() in ready:
            self._bell.quiet()
        elif rest and self._router in ready:
            time.sleep(REST_S)

    def wake(self) -> None:
        """Let ``wait`` return. Any thread."""
        self._bell.ring()

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next message and whose it is; None when there is none now. What has other than one frame is dropped."""
        while True:
            try:
                frames = self._router.recv_multipart(self._zmq.NOBLOCK)
            except self._zmq.Again:
                return None
            if len(frames) == 2:
                return frames[0], frames[1]

    def send(self, identity: bytes, frame: bytes) -> None:
        """Answer a rank; one that has gone, or does not listen, misses it."""
        try:
            self._router.send_multipart((identity, frame), self._zmq.NOBLOCK)
        except self._zmq.ZMQError:
            return

    def _authenticate(self) -> None:
        """Answer one request of the ZeroMQ Authentication Protocol (RFC 27): this run's key, and CURVE, alone."""
        request = self._zap.recv_multipart()
        version, number = [*request, b"", b""][:2]
        domain, mechanism, key = (request[2], request[5], request[6]) if len(request) == 7 else (b"", b"", b"")
        good = version == b"1.0" and domain == _DOMAIN and mechanism == b"CURVE" and key == self._allowed
        if not good:
            self.strangers += 1
        status = (b"200", b"OK", b"rank") if good else (b"400", b"not a key of this run", b"")
        self._zap.send_multipart((b"1.0", number, *status, b""))

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        for name in ("_router", "_zap"):
            found = getattr(self, name, None)
            if found is not None:
                found.close()
        self._context.term()
        self._bell.close()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
