"""A client under attack: it seals honestly, and what it sends is in the attacker's hands piece by piece."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.attacks.relays.said import ANSWERED, TAKEN, Said, read_said
from fedpriv.attacks.relays.scene import MODELS, SESSIONS, Scene
from fedpriv.errors import UserError
from fedpriv.relays.sessions import now_ms
from fedpriv.services.secret_files import read_secret
from fedpriv.serving.answers import decode_answer
from fedpriv.sharing.causes import SharingError
from fedpriv.sharing.handshake import Initiator
from fedpriv.sharing.opening import PREFIX, Credentials
from fedpriv.sharing.scheme import Scheme
from fedpriv.sharing.session import SHARE_LIFETIME_MS, ClientSession, SealedImage
from fedpriv.sharing.terms import Hello, Terms

_TRIES = 4


@dataclass(frozen=True)
class Sealed:
    """A sealed image and which picture it is."""

    image: SealedImage
    picture: int

    @property
    def number(self) -> int:
        """Which image of the session."""
        return self.image.number

    @property
    def relays(self) -> tuple[str, ...]:
        """The relays that the schedule names, one per piece."""
        return tuple(share.relay for share in self.image.shares)

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The envelopes."""
        return tuple(share.envelope for share in self.image.shares)


@dataclass
class Victim:
    """An open session.

    Attributes:
        scene: where it speaks to.
        session: the client's side.
        cipher: of its shares: what the attacks do without, and their controls may know.
        first: its first message, as a relay saw it.
        sent: what came back for the numbers that were answered.
    """

    scene: Scene
    session: ClientSession = field(repr=False)
    cipher: ChaCha20Poly1305 = field(repr=False)
    first: bytes = field(repr=False)
    sent: dict[int, Said] = field(default_factory=dict, repr=False)
    _sealed: int = 0

    @classmethod
    async def open(cls, scene: Scene, client: str = "client-1", share_ms: int = SHARE_LIFETIME_MS) -> Self:
        """Open a session through some relay, by hand.

        Raises:
            UserError: the services refuse an honest client again and again.
        """
        settings = scene.client(client)
        credentials = known_credentials(scene, client)
        for _ in range(_TRIES):
            initiator, first = first_message(settings.server_public, credentials, settings.scheme, now_ms())
            relay = scene.random.choice(scene.plan.names)
            status, reply = await scene.post(scene.url(relay) + SESSIONS, first)
            if status == 200:
                content, keys = initiator.finish(reply)
                session = ClientSession(
                    credentials.secret, Terms.unpack(content), settings.scheme, keys, now_ms(), share_ms
                )
                return cls(scene, session, ChaCha20Poly1305(keys.to_server), first)
            await asyncio.sleep(0.5)
        raise UserError(
            f"{client}: got no session ({read_said(status, reply).label}); see the services' logs"
        )

    def seal(self) -> Sealed:
        """Seal the next picture; nothing is sent."""
        images = self.scene.honest.images
        picture = self._sealed % len(images)
        self._sealed += 1
        return Sealed(self.session.seal(images[picture], MODELS, now_ms()), picture)

    async def send(self, sealed: Sealed, which: int, through: str | None = None) -> Said:
        """Send one piece as the client would, and keep the account."""
        said = await self.scene.share(through or sealed.relays[which], sealed.pieces[which])
        name, account = self.session.terms.session, self.scene.account
        if said.label in TAKEN:
            account.shares.add((name, sealed.number, which))
        if said.label == ANSWERED:
            account.images.add((name, sealed.number))
            self.sent[sealed.number] = said
        return said

    async def deliver(self, sealed: Sealed, pieces: list[int] | None = None) -> tuple[bool, int]:
        """Send the pieces (all without), and anew as a client does, until there is an answer.

        Returns:
            Whether it is the right one, and how often the image was shared anew.
        """
        for retries in range(_TRIES):
            which = range(len(sealed.pieces)) if pieces is None else pieces
            said = await asyncio.gather(*(self.send(sealed, each) for each in which))
            if any(each.label == ANSWERED for each in said):
                return all(self.right(sealed, each) for each in said if each.label == ANSWERED), retries
            images = self.scene.honest.images
            again = self.session.seal(images[sealed.picture], MODELS, now_ms())
            sealed, pieces = Sealed(again, sealed.picture), None
        return False, _TRIES

    def right(self, sealed: Sealed, said: Said) -> bool:
        """Tell whether this opens as the answer to this image, and is what the models say of it."""
        try:
            content = self.session.open_answer(sealed.number, said.answer or b"")
            return decode_answer(content) == self.scene.honest.answers[sealed.picture]
        except (SharingError, ValueError):
            return False


def known_credentials(scene: Scene, client: str) -> Credentials:
    """Return what a client shares with the model server."""
    settings = scene.client(client)
    return Credentials(bytes.fromhex(settings.key_id), read_secret(settings.secret_file, 32))


def first_message(
    server_public: str, credentials: Credentials, scheme: Scheme, clock_ms: int
) -> tuple[Initiator, bytes]:
    """Return the client's side of a handshake and its first message, with any clock."""
    prefix = PREFIX + credentials.key_id
    initiator = Initiator(bytes.fromhex(server_public), credentials.secret, prefix)
    return initiator, prefix + initiator.first(Hello(clock_ms, scheme).pack())
