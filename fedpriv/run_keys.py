"""The keys of one run: made before it, gone after it; what their holders answered is kept."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fedpriv.config.schema import Mode, RunConfig
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.errors import UserError
from fedpriv.he import provision
from fedpriv.he.key_files import forget_share
from fedpriv.scratch import private_folder

log = logging.getLogger("fedpriv")


@contextmanager
def key_folder(config: RunConfig, output_dir: Path | None = None) -> Iterator[str | None]:
    """Make every party's keys, unless the configuration names a folder of them; they are gone after the run.

    Of a folder that the user named, the committee's shares of this run's key go, so that updates that
    somebody has recorded cannot be opened later with shares that were left behind. What was enrolled stays.

    What the key holders answered, or refused, is in ``output_dir/transcripts``: written there from the
    start where the keys are made here, in memory, so that it survives even a kill -9; copied there at the
    end where the user's folder has it.

    Args:
        config: of the run; without a federation nothing is sent, and there are no keys.
        output_dir: None keeps no transcripts outside of the folder.
    """
    if config.mode is not Mode.federated:
        yield None
        return
    codec, named = codec_of(config), config.secure.key_folder
    with _alone_in(Path(named)) if named is not None else private_folder() as folder:
        if named is None:
            provision.provision(folder, config.federation.clients, codec, policy_of(config))
            if output_dir is not None:
                _place_transcripts(folder, codec.holders, output_dir / "transcripts", config.run_id or "")
        try:
            yield str(folder)
        finally:
            if codec.needs_public_key:
                _forget_shares(folder, codec.holders)
            if named is not None and output_dir is not None:
                _copy_transcripts(folder, codec.holders, output_dir / "transcripts", config.run_id or "")


@contextmanager
def _alone_in(folder: Path) -> Iterator[Path]:
    """Keep other runs away from a folder of keys: each would take the other's shares away.

    Raises:
        UserError: when another run uses the folder.
    """
    with ExitStack() as stack:
        try:
            descriptor = os.open(provision.enrolment_file(folder), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"secure.key_folder={folder}: another run is using it; wait for its end, or name another"
            ) from error
        except OSError:
            pass  # what is wrong with the enrolment is said where it is read
        yield folder


def _forget_shares(keys: Path, holders: int) -> None:
    for number in range(holders):
        party = provision.keyholder_folder(keys, number)
        try:
            forget_share(party)
        except OSError as error:
            left = error.filename or party
            log.warning("%s: cannot be deleted (%s); delete it, it opens this run's updates", left, error)


def _place_transcripts(keys: Path, holders: int, target: Path, run_id: str) -> None:
    """Let the key holders write their transcripts in ``target``, by links, and nothing else of theirs."""
    for number in range(holders):
        link = provision.transcript_file(provision.keyholder_folder(keys, number))
        link.symlink_to(_free_transcript(target.resolve(), number, run_id))


def _copy_transcripts(keys: Path, holders: int, target: Path, run_id: str) -> None:
    """Copy what there is."""
    for number in range(holders):
        transcript = provision.transcript_file(provision.keyholder_folder(keys, number))
        if not transcript.exists():
            continue
        copy = _free_transcript(target, number, run_id)
        for suffix in ("", ".head"):
            source = transcript.with_name(transcript.name + suffix)
            if source.exists():
                part = copy.with_name(f".{copy.name}{suffix}")
                shutil.copy(source, part)  # with its mode, 0600
                part.rename(copy.with_name(copy.name + suffix))


def _free_transcript(target: Path, number: int, run_id: str) -> Path:
    """Return the file of holder ``number``; a resumed run's is beside that of the interrupted process."""
    target.mkdir(mode=0o700, exist_ok=True)
    path = target / f"holder-{number}.jsonl"
    return target / f"holder-{number}-{run_id[:8]}.jsonl" if path.exists() else path
