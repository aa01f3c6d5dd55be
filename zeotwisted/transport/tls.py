"""TLS between a protocol and its transport, with the standard library's contexts.

Twisted's own TLS accepts only pyOpenSSL's contexts, and its default clock is the global reactor.
This module uses an `ssl.SSLContext` with two buffers in memory: received data is written to one,
and the data to send is read from the other.
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

#: How long (seconds) a server waits for the end of the handshake. A ZEO client without TLS waits
#: for the server to send first, so without this limit both ends would wait for ever.
_HANDSHAKE_TIMEOUT = 10.0

#: The amount to encrypt at a time, in bytes. It keeps large messages from being in memory three
#: times.
_PIECE = 2**18

#: The TLS alert "handshake failure", for a peer that has sent nothing yet.
_ALERT = b"\x15\x03\x01\x00\x02\x02\x28"


class _State(Enum):
    HANDSHAKE = "agreeing on keys"
    OPEN = "open"
    CLOSING = "closing: nothing more is to be written"
    LOST = "the TLS connection has ended, and the socket's follows"


@implementer(ITransport, IConsumer, IPushProducer)
class TLSTransport(Protocol):
    """The transport of `wrappedProtocol`, and the protocol of the transport below.

    As in Twisted's own TLS, the wrapped protocol is connected immediately, and the data that it
    writes is sent after the handshake. If the handshake fails, the protocol's `connectionLost` gets
    a `HandshakeError`.

    Only `decrypt` and `encrypt` may be called outside of the reactor's thread.
    """

    def __init__(
        self,
        wrappedProtocol: Any,
        context: ssl.SSLContext,
        clock: IReactorTime,
        is_server: bool,
        hostname: str | None,
        certificate: bytes | None = None,
    ) -> None:
        self.wrappedProtocol = wrappedProtocol
        #: The certificate of this end (DER), if it is known.
        self.certificate = certificate
        self._clock: Any = clock
        self._is_server = is_server
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, is_server, hostname)
        # Encrypted data that the socket has not accepted yet.
        self._left = b""
        # Protects the four attributes above and the order of the sent data. After the handshake,
        # other threads use them too.
        self._lock = threading.RLock()
        self._state = _State.HANDSHAKE
        self._unsent: deque[memoryview] = deque()
        self._encrypting = False
        # The producer that is registered after the handshake, and whether it is a streaming one.
        self._producer: tuple[Any, bool] | None = None
        # Whether any data was received, and whether any application data was received.
        self._heard = False
        self._confirmed = False
        # Whether the registered producer is a pull producer.
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
        """Return the decrypted `data`, in any thread.

        A thread that reads the socket itself calls this instead of `dataReceived`. The reactor's
        thread handles errors and the end of the connection later.
        """
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
        # Break the reference cycle: the wrapped protocol has this object as its transport.
        wrapped, self.wrappedProtocol = self.wrappedProtocol, None
        wrapped.connectionLost(reason if error is None else Failure(error))

    def _given_up(self) -> Exception:
        """Return the error for a connection that ended during the handshake."""
        if self._is_server and self._heard:
            return HandshakeError(
                "the client closed the connection; it may not accept the certificate of the server"
            )
        # Not a HandshakeError. At a client: the server may just have been stopped. At a server: a
        # monitor may only have checked that the port is open.
        return ConnectionLost("it was closed during the TLS handshake")

    def _cut_off(self) -> Exception:
        """Return the error for a connection that ended without close_notify."""
        if not (self._confirmed or self._is_server):
            # A ZEO server does this if it rejects the certificate. It is not a HandshakeError,
            # because the server may also just have been stopped.
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
        """Decrypt `data`, in any thread.

        Return the decrypted bytes, and the exception if TLS failed or the peer ended it, or None.
        """
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
            # The data may have belonged to a renegotiation: send the answer, then waiting data.
            self._flush()
            if self._unsent:
                self._encrypt()

    def _read_failed(self, error: Exception) -> Exception:
        text = explain(error, self._is_server)
        # In TLS 1.3, a server rejects a certificate only after the client's handshake is done.
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
        """End the connection, after sending the TLS alert that tells the peer the reason."""
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
            # _encrypt() may call a producer, which calls write() again. The running _encrypt() then
            # sends that data too.
            if self._state is _State.OPEN and not self._encrypting:
                self._encrypt()
            if self._pulls:
                # The data did not pass through the transport below, so it would not ask the pull
                # producer for more.
                self._below.startWriting()

    def writeSequence(self, data: Any) -> None:
        """Send the items of `data`, in as few TLS records as possible."""
        self.write(b"".join(data))

    def encrypt(self, data: bytes, send: Callable[[bytes], int]) -> int:
        """Encrypt `data` and send it immediately, in any thread; return how many bytes were taken.

        The number is 0 if other data has to be sent first, or after an error. Then `data` has to be
        passed to `write` in the reactor's thread, which handles errors.

        :param send: sends some of the encrypted bytes and returns their number.
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
            # TLS renegotiates. `_has_read` continues when the peer has answered.
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

    @property
    def verifies(self) -> bool:
        """Whether certificates of the other end that are not valid are refused."""
        return self._tls.context.verify_mode is not ssl.CERT_NONE

    def peer_certificate(self) -> bytes | None:
        """Return the certificate of the other end (DER); None if it has shown none."""
        return self._tls.getpeercert(binary_form=True)

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
        """Stop reading until `resumeProducing` is called."""
        self._below.pauseProducing()

    def resumeProducing(self) -> None:
        """Continue reading."""
        self._below.resumeProducing()

    def stopProducing(self) -> None:
        """See `IPushProducer`."""
        self.loseConnection()


class TLSFactory(Factory):
    """Puts TLS below the protocols that another factory builds.

    :param context: has the certificates and all other settings.
    :param clock: the reactor.
    :param is_server: True at the server, False at the client.
    :param hostname: at a client: the server's name for the check of its certificate, or None.
    :param certificate: the certificate of this end (DER), if it is known. The standard library does
        not tell which certificate a context has.
    """

    noisy = False

    def __init__(
        self,
        wrappedFactory: Any,
        context: ssl.SSLContext,
        clock: IReactorTime,
        is_server: bool,
        hostname: str | None = None,
        certificate: bytes | None = None,
    ) -> None:
        self.wrappedFactory = wrappedFactory
        self._context = context
        self._clock = clock
        self._is_server = is_server
        self._hostname = hostname
        self._certificate = certificate

    def use(self, context: ssl.SSLContext, certificate: bytes | None) -> None:
        """Use another context, and this end's certificate in it, for new connections."""
        self._context = context
        self._certificate = certificate

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
        return TLSTransport(
            wrapped,
            self._context,
            self._clock,
            self._is_server,
            self._hostname,
            self._certificate,
        )
