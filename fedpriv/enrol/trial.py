"""Everybody's keys in one folder, for a trial: durable, and complete or not there at all."""

import os
import secrets
import shutil
from pathlib import Path

from fedpriv.config.schema import RunConfig
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.errors import UserError
from fedpriv.he.identity import Enrolment
from fedpriv.he.key_files import sync_folder
from fedpriv.he.provision import enrolment_file, provision


def make_all(folder: Path, config: RunConfig) -> Enrolment:
    """Make what ``secure.key_folder`` names in a simulation; return the enrolment.

    Guarantee:
        - The folder appears with mode 0700, complete and synced to disk, or not at all.
        - What is there is never replaced, but for an empty folder.

    Raises:
        UserError: when the folder exists and is not empty, or the one that it belongs in is missing.
    """
    folder = folder.resolve()
    if not folder.parent.is_dir():
        raise UserError(f"{folder}: {folder.parent} is missing; make it first")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; name a new folder")
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    temporary.mkdir(mode=0o700)
    try:
        provision(temporary, config.federation.clients, codec_of(config), policy_of(config))
        enrolment = Enrolment.load(enrolment_file(temporary))
        _sync(temporary)
        try:
            temporary.rename(folder)
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}; name a new folder") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return enrolment


def _sync(folder: Path) -> None:
    """Force files and names to disk, before the name of the whole."""
    for each, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(each, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(each))
