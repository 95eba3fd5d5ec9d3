"""What key files are, in words; nothing of what they keep secret."""

from collections.abc import Iterator
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.key_files import read_private, read_public
from fedpriv.he.users.key_heads import KeyHead, grouped, open_head
from fedpriv.he.users.keys import SECRET_FILE, UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shares import SHARE_FILE, UserShare


def shown(path: Path) -> Iterator[str]:
    """Yield the lines for a key file, or for those of a folder, each checked as for use.

    Raises:
        UserError: when there is none, or one is damaged, open to others or does not fit its neighbour.
    """
    if not path.is_dir():
        yield from _file(path)
        return
    found = [path / name for name in (SECRET_FILE, SHARE_FILE, PUBLIC_FILE) if (path / name).exists()]
    if not found:
        raise UserError(f"{path}: holds no {SECRET_FILE}, {SHARE_FILE} or {PUBLIC_FILE}; name another folder")
    for file in found:
        yield from _file(file)


def _file(path: Path) -> Iterator[str]:
    data = read_public(path, PublicKeys.largest_bytes())
    head, _ = open_head(path, data, ("secret", "public", "share"))
    if head.kind == "public":
        PublicKeys.from_bytes(data, path)
    else:
        # again, this time as a secret: open to nobody else
        read_private(path, PublicKeys.largest_bytes())
        (UserKeys if head.kind == "secret" else UserShare).load(path)
    yield f"{path}"
    yield f"  kind         {_kind(head)}"
    yield f"  fingerprint  {grouped(head.fingerprint)}"
    yield f"  for          {head.set.purpose} ({head.set.name})"
    yield f"  parameters   {_parameters(head.set)}"
    yield f"  signed by    {grouped(head.verify_key.hex())}"


def _kind(head: KeyHead) -> str:
    if head.kind == "share":
        return f"share of key holder {head.number} of {head.holders}; keep it to yourself"
    return "secret key; keep it to yourself" if head.kind == "secret" else "public key"


def _parameters(chosen: ParameterSet) -> str:
    seal = chosen.seal
    bits = " + ".join(str(each) for each in seal.coeff_bits)
    values = f"scale 2^{chosen.scale_log2}" if chosen.ckks else f"plain modulus {seal.plain_modulus}"
    return f"{seal.scheme.upper()}, N {seal.poly_degree}, primes of {bits} bits, {values}"
