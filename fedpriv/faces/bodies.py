"""JSON bodies of both services."""

from typing import Annotated

from pydantic import BaseModel, Field

from fedpriv.he.matching.members import Templates


class About(BaseModel):
    """What a gallery is."""

    fingerprint: str = Field(description="of the key pair it is under")
    parameters: str
    dimension: int
    people: int
    blocks: int
    server_key: str = Field(description="Ed25519, signs tickets")
    gallery: Templates = Field(description="plain: this server reads every template")


class FreePlace(BaseModel):
    """Slots of one block."""

    block: int
    slots: list[int]


class Free(BaseModel):
    """Where the next people go."""

    places: list[FreePlace]


class Enrolled(BaseModel):
    """Who was taken in, in the order of their slots."""

    ids: list[str]


class Leaving(BaseModel):
    """Whom to delete."""

    ids: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{12}$")]], Field(min_length=1, max_length=4096)
    ]


class Stale(BaseModel):
    """Segments that still hold ciphertext of people who were deleted, for their owner to encrypt anew."""

    segments: dict[str, dict[str, tuple[int, int]]]


class Policy(BaseModel):
    """What the key holder opens."""

    fingerprint: str = Field(description="of the key pair")
    threshold: float = Field(description="cosine from which a face is accepted")
    budget: int = Field(description="openings in any 24 hours, for callers without a budget of their own")
    raw_scores: bool


class Name(BaseModel):
    """Whom a caller claims a face to be."""

    name: Annotated[str, Field(min_length=1, max_length=128)]


class Known(BaseModel):
    """Under which id the server knows them."""

    id: str


class Opened(BaseModel):
    """The answer; ``accepted`` for verify, ``name`` for identify (null for nobody), ``scores`` for scores."""

    kind: str
    request: str = Field(description="SHA-256 of the request to the server that this answers")
    person: str | None = Field(None, description="name of whom a face was compared with, for verify")
    accepted: bool | None = None
    name: str | None = None
    scores: dict[str, float] | None = None
    left: int = Field(description="openings that are left of the budget")
