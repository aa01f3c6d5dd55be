"""TLS between a protocol and its transport, with the standard library's contexts.

Twisted's own TLS takes pyOpenSSL's contexts only, and its default clock is the global reactor. Here
an `ssl.SSLContext` does the same through memory: what comes from the network is put into one
buffer, and what is to be sent is taken out of another.
"""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .sockets import DirectWriter
from .tlserrors import HandshakeError, explain

__all__ = ["TLSFactory", "TLSTransport"]

#: How long (seconds) a client may take to begin and end the handshake. One that knows nothing of
#: TLS waits for the server to speak first, so that both would wait for ever.
_HANDSHAKE_TIMEOUT = 10.0

#: What is encrypted at a time, in bytes: large messages need not be in memory three times.
_PIECE = 2**18

#: The alert "handshake failure", as TLS has it for a peer that has not said anything yet.
_ALERT = b"\x15\x03\x01\x00\x02\x02\x28"


class _State(Enum):
    HANDSHAKE = "agreeing on keys"
    OPEN = "open"
    CLOSING = "closing: nothing more is to be written"
    LOST = "the TLS connection has ended, and the socket's follows"


@implementer(ITransport, IConsumer, IPushProducer)
class TLSTransport(Protocol):
    """The transport of `wrappedProtocol`, and the protocol of the transport below.

    As with Twisted's own, the wrapped protocol is connected at once, and what it writes waits for
    the end of the handshake. If that fails, the protocol's connection is lost with a
    `HandshakeError`.

    All belongs to the reactor's thread, but `decrypt` and `encrypt`.
    """

    def __init__(
        self,
        wrappedProtocol: Any,
        context: ssl.SSLContext,
        clock: IReactorTime,
        is_server: bool,
        hostname: str | None,
    ) -> None:
        self.wrappedProtocol = wrappedProtocol
        self._clock: Any = clock
        self._is_server = is_server
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, is_server, hostname)
        # What is encrypted, and was not taken by the socket.
        self._left = b""
        # Guards the four above, and the order of what is sent; threads may use them once the
        # handshake is done.
        self._lock = threading.RLock()
        self._state = _State.HANDSHAKE
        self._unsent: deque[memoryview] = deque()
        self._encrypting = False
        # The producer, and whether it is a streaming one, until the handshake is done.
        self._producer: tuple[Any, bool] | None = None
        # Whether anything has come, and whether any of it was more than the handshake.
        self._heard = False
        self._confirmed = False
        # Whether there is a producer that has to be asked each time.
        self._pulls = False
        self._reason: Exception | None = None
        self._deadline: IDelayedCall | None = None

    # The protocol of the transport below.

    def connectionMade(self) -> None:
        self._writer = DirectWriter(self.transport)
        self.wrappedProtocol.makeConnection(self)
        if self._state is not _State.HANDSHAKE:
            return
        if self._is_server:
            self._deadline = self._clock.callLater(_HANDSHAKE_TIMEOUT, self._too_late)
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        if self._state is _State.HANDSHAKE:
            self._incoming.write(data)
            data = b""
            self._heard = True
            self._shake_hands()
        if self._state in (_State.OPEN, _State.CLOSING):
            plain, problem = self._read(data)
            if plain:
                self.wrappedProtocol.dataReceived(plain)
            self._has_read(problem)

    def decrypt(self, data: bytes) -> bytes:
        """Return what `data` from the network means, in any thread. It takes the place of
        `dataReceived` where somebody else than the reactor reads."""
        plain, problem = self._read(data)
        if problem is not None or self._outgoing.pending:
            self._clock.callFromThread(self._has_read, problem)
        return plain

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cancel_deadline()
        error = self._reason
        if error is None and self._state is _State.HANDSHAKE:
            error = self._given_up()
        elif error is None and self._state is _State.OPEN and reason.check(ConnectionDone):
            error = self._cut_off()
        self._state = _State.LOST
        self._unsent.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer[0].stopProducing()
        # It has this object for its transport, and both would hold each other in memory.
        wrapped, self.wrappedProtocol = self.wrappedProtocol, None
        wrapped.connectionLost(reason if error is None else Failure(error))

    def _given_up(self) -> Exception:
        """Return what to say of a connection that has ended during the handshake."""
        if self._is_server and self._heard:
            return HandshakeError(
                "the client closed the connection; it may not accept the certificate of the server"
            )
        # The server has just been stopped, or a monitor only checked that the port is open.
        return ConnectionLost("it was closed during the TLS handshake")

    def _cut_off(self) -> Exception:
        """Return what to say of a connection that has ended without TLS's notice of the end."""
        if not (self._confirmed or self._is_server):
            # ZEO's servers do that. They may have been stopped just now, though.
            return ConnectionLost(
                "the server closed it right after the TLS handshake; it may not accept the "
                "client's certificate, or miss one"
            )
        return ConnectionLost("it was closed without TLS's notice of that")

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._fail(HandshakeError(explain(error, self._is_server)))
        else:
            self._cancel_deadline()
            self._state = _State.OPEN
            self._flush()
            producer, self._producer = self._producer, None
            if producer is not None:
                self.registerProducer(*producer)
            self._encrypt()

    def _read(self, data: bytes) -> tuple[bytes, Exception | None]:
        """Return what `data` means, and what is wrong or the end; in any thread."""
        pieces = []
        problem: Exception | None = None
        with self._lock:
            self._incoming.write(data)
            try:
                while piece := self._tls.read(_PIECE):
                    pieces.append(piece)
                problem = ssl.SSLZeroReturnError()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                problem = error
        if pieces:
            self._confirmed = True
        return b"".join(pieces), problem

    def _has_read(self, problem: Exception | None) -> None:
        if self._state is _State.LOST:
            return
        if isinstance(problem, ssl.SSLZeroReturnError):
            self._end()
        elif problem is not None:
            self._fail(self._read_failed(problem))
        else:
            # It may have had to do with keys.
            self._flush()
            if self._unsent:
                self._encrypt()

    def _read_failed(self, error: Exception) -> Exception:
        text = explain(error, self._is_server)
        # With TLS 1.3 a client learns only now that the server does not accept its certificate.
        if not self._confirmed and not self._is_server:
            return HandshakeError(text)
        return ConnectionLost(f"TLS failed: {text}")

    def _too_late(self) -> None:
        self._deadline = None
        if self._heard:
            text = f"the client did not complete it within {_HANDSHAKE_TIMEOUT:g} seconds"
        else:
            text = (
                f"the client did not begin it within {_HANDSHAKE_TIMEOUT:g} seconds; "
                "does it connect without TLS?"
            )
            self._writer.write(_ALERT)
        self._fail(HandshakeError(text))

    def _fail(self, reason: Exception) -> None:
        """End the connection; the alert that tells the peer why is sent before."""
        self._reason = reason
        self._state = _State.LOST
        self._cancel_deadline()
        self._flush()
        self._below.loseConnection()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # The transport of the wrapped protocol.

    @property
    def _below(self) -> Any:
        return self.transport

    @property
    def disconnecting(self) -> bool:
        """Whether nothing more can be written."""
        return self._state in (_State.CLOSING, _State.LOST)

    def write(self, data: bytes) -> None:
        """Send `data`; see `ITransport`."""
        if data and not self.disconnecting:
            self._unsent.append(memoryview(data))
            # A producer may be asked for more, and write it, in the midst of that.
            if self._state is _State.OPEN and not self._encrypting:
                self._encrypt()
            if self._pulls:
                # What was sent at once, past the transport below, lets it ask nobody for more.
                self._below.startWriting()

    def writeSequence(self, data: Any) -> None:
        """Send what `data` consists of, in as few records as possible."""
        self.write(b"".join(data))

    def encrypt(self, data: bytes, send: Callable[[bytes], int]) -> int:
        """Have `data` sent at once, in any thread; return how many bytes of it are on their way.

        They are none while anything else is to be sent before, or is wrong; the reactor has to
        write `data` then, and finds out.

        :param send: sends what it can and returns how many bytes that was.
        """
        with self._lock:
            if not self._is_free():
                return 0
            try:
                written = self._tls.write(data[:_PIECE])
            except ssl.SSLError:
                return 0
            encrypted = self._outgoing.read()
            self._left = encrypted[send(encrypted) :]
            if self._left:
                self._clock.callFromThread(self._flush)
            return written

    def _is_free(self) -> bool:
        below = self._below
        return self._state is _State.OPEN and not (
            self._left or self._unsent or below.dataBuffer or below.disconnecting
        )

    def _encrypt(self) -> None:
        self._encrypting = True
        unsent = self._unsent
        try:
            while unsent:
                data = unsent[0]
                with self._lock:
                    written = self._tls.write(data[:_PIECE])
                    self._flush()
                if written == len(data):
                    unsent.popleft()
                else:
                    unsent[0] = data[written:]
        except ssl.SSLWantReadError:
            # New keys are being agreed on. It goes on when the peer's are there.
            self._flush()
        except ssl.SSLError as error:
            self._fail(ConnectionLost(f"TLS failed: {explain(error, self._is_server)}"))
            return
        finally:
            self._encrypting = False
        if not unsent and self._state is _State.CLOSING:
            self._end()

    def _flush(self) -> None:
        with self._lock:
            data = self._left + self._outgoing.read()
            self._left = b""
            if data:
                self._writer.write(data)

    def loseConnection(self) -> None:
        """Close the connection when everything has been sent; see `ITransport`."""
        if self._state is _State.HANDSHAKE:
            self._state = _State.LOST
            self._cancel_deadline()
            self._below.loseConnection()
        elif self._state is _State.OPEN:
            self._state = _State.CLOSING
            if not self._unsent:
                self._end()

    def _end(self) -> None:
        """Send close_notify and close the connection."""
        self._state = _State.LOST
        # Do not wait for the peer's close_notify.
        with self._lock, suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._below.loseConnection()

    def abortConnection(self) -> None:
        """Close the connection at once; see `ITCPTransport`."""
        self._state = _State.LOST
        self._cancel_deadline()
        self._below.abortConnection()

    def getPeer(self) -> IAddress:
        """Return the address of the other end."""
        return self._below.getPeer()

    def getHost(self) -> IAddress:
        """Return the address of this end."""
        return self._below.getHost()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Register `producer`, which is resumed when there is room; see `IConsumer`."""
        if self._state is _State.HANDSHAKE:
            self._producer = (producer, streaming)
        elif self._state is _State.LOST:
            producer.stopProducing()
        else:
            self._pulls = not streaming
            self._below.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See `IConsumer`."""
        self._pulls = False
        if self._producer is not None:
            self._producer = None
        else:
            self._below.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read nothing for the time being."""
        self._below.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._below.resumeProducing()

    def stopProducing(self) -> None:
        """See `IPushProducer`."""
        self.loseConnection()


class TLSFactory(Factory):
    """Puts TLS below the protocols that another factory makes.

    :param context: certificates and all other settings.
    :param clock: the reactor.
    :param is_server: at which end.
    :param hostname: for clients: the server's name, if it has one.
    """

    noisy = False

    def __init__(
        self,
        wrappedFactory: Any,
        context: ssl.SSLContext,
        clock: IReactorTime,
        is_server: bool,
        hostname: str | None = None,
    ) -> None:
        self.wrappedFactory = wrappedFactory
        self._context = context
        self._clock = clock
        self._is_server = is_server
        self._hostname = hostname

    def doStart(self) -> None:
        self.wrappedFactory.doStart()
        super().doStart()

    def doStop(self) -> None:
        super().doStop()
        self.wrappedFactory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> TLSTransport | None:
        wrapped = self.wrappedFactory.buildProtocol(addr)
        if wrapped is None:
            return None
        return TLSTransport(wrapped, self._context, self._clock, self._is_server, self._hostname)
