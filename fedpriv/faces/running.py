"""Runs the server and the key holder, each as a process of its own, until SIGTERM or SIGINT."""

import argparse
import os
import sys

from fedpriv.errors import UserError
from fedpriv.faces import in_the_clear
from fedpriv.services.held_folder import HeldFolder, mark_of
from fedpriv.services.options import listening
from fedpriv.services.running import run

_KIND = "faces"


def run_server(options: argparse.Namespace) -> None:
    """Run the server with the options of ``fedpriv faces serve``; begin a gallery where there is none.

    Raises:
        UserError: when the folder holds none and no public key is given, or one of another key or not the
            ``--gallery`` that is said, or another server has it.
    """
    from fedpriv.faces.server import ServerSettings, build_server
    from fedpriv.he.matching.gallery import JOURNAL_FILE, Gallery
    from fedpriv.he.matching.members import TEMPLATES
    from fedpriv.he.users.public_keys import PublicKeys

    os.umask(0o077)
    _warn("serve", options)
    if options.workers < 1:
        raise UserError(f"--workers {options.workers}: choose 1 or more")
    public = None if options.public is None else PublicKeys.load(options.public, "faces")
    settings = ServerSettings(**listening(options), folder=options.folder, workers=options.workers)
    journal = options.folder / JOURNAL_FILE
    # empty, where a gallery was about to be begun
    found = journal.exists() and journal.stat().st_size > 0
    if found:
        # begun by other means than this command, it has no mark
        mark_of(options.folder, _KIND).touch(0o600)
    elif public is None:
        raise UserError(f"{options.folder}: holds no gallery; give --public FILE to begin one")
    # opening a gallery empties its inbox, in which another server may be receiving
    with HeldFolder(options.folder, _KIND, "--folder"):
        if public is not None and not found:
            gallery = Gallery.make(
                options.folder, public, options.dimension, plain=options.gallery == "plain"
            )
        else:
            gallery = Gallery.open(options.folder)
            if public is not None:
                gallery.keys.require(public.fingerprint, options.public)
        kind = TEMPLATES[gallery.plain]
        if options.gallery not in (None, kind):
            raise UserError(
                f"--gallery {options.gallery}: the gallery in {options.folder} is {kind} and stays so; leave "
                "--gallery out, or name another folder"
            )
        if gallery.plain:
            sys.stderr.write(
                f"faces serve: {options.folder}: plain: whoever has this machine reads every template\n"
            )
        run(build_server(settings), settings, "faces serve")


def run_keyholder(options: argparse.Namespace) -> None:
    """Run the key holder with the options of ``fedpriv faces keyholder``.

    Raises:
        UserError: as :class:`~fedpriv.faces.holding.KeyHolder`, or when the model cannot be loaded.
    """
    from fedpriv.faces.false_accepts import FAR
    from fedpriv.faces.holding import KeyHolderSettings
    from fedpriv.faces.keyholder import build_keyholder

    os.umask(0o077)
    _warn("keyholder", options)
    if options.threshold is not None and options.far is not None:
        raise UserError("faces keyholder: give --threshold or --far, not both")
    model = None
    if options.model is not None:
        from fedpriv.faces.embed import load_embedder

        model = load_embedder(options.model)
    settings = KeyHolderSettings(
        **listening(options),
        owner=options.owner,
        threshold=options.threshold,
        far=FAR if options.far is None else options.far,
        model=model,
        budget=options.budget,
        raw_scores=options.raw_scores,
    )
    run(build_keyholder(settings), settings, "faces keyholder")


def _warn(command: str, options: argparse.Namespace) -> None:
    if said := in_the_clear.listening(options.host, options.certificate):
        sys.stderr.write(f"faces {command}: {said}\n")
