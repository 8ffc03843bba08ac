"""The rank's end of the connection to the notebook."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from resmon.distributed import messages
from resmon.distributed.connection import Connection

if TYPE_CHECKING:
    import zmq

LINGER_MS = 300
QUEUE = 32


def connect(zmq: Any, context: zmq.Context[Any], known: Connection) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """The socket to the notebook, and the one that tells what becomes of its connection."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.linger = LINGER_MS
    socket.sndhwm = socket.rcvhwm = QUEUE
    socket.maxmsgsize = messages.MAX_BYTES
    socket.immediate = True  # nothing waits for a notebook that is not there
    socket.ipv6 = True
    socket.reconnect_ivl = 500
    socket.reconnect_ivl_max = 10_000
    socket.heartbeat_ivl = 5_000
    socket.heartbeat_timeout = 15_000
    socket.curve_serverkey = known.server_public.encode()
    socket.curve_publickey = known.client_public.encode()
    socket.curve_secretkey = known.client_secret.encode()
    # Before it connects: the handshake may be over before this thread, beside busy Python code, has its next turn.
    events = socket.get_monitor_socket(
        zmq.EVENT_HANDSHAKE_SUCCEEDED
        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_DISCONNECTED
    )
    socket.connect(known.endpoints[0])
    return socket, events


def event_of(frame: bytes) -> int:
    """The event in the first frame that a socket's monitor sends; ``zmq.utils.monitor`` would load asyncio for it."""
    return int.from_bytes(frame[:2], sys.byteorder)


def received(zmq: Any, socket: zmq.Socket[bytes]) -> bytes | None:
    """What came, or None: nothing is waited for."""
    try:
        return bytes(socket.recv(zmq.NOBLOCK))
    except zmq.Again:
        return None
