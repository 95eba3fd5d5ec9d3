"""Hydra's and OmegaConf's errors as one line that names the key and the mend."""

import re


def explain(error: BaseException) -> str:
    """Return one line for a composition error.

    The first line that names a key or a value is kept of the chain of causes, and a mend is
    added where the kind of mistake is known.
    """
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    whole = "\n".join(texts)
    if match := re.search(r"Could not override '([^']+)'", whole):
        close = _known(whole)
        return f"{match[1]}: there is no such key{close}; check the spelling (`--cfg job` prints all keys)"
    if match := re.search(r"Key '([^']+)' (?:is )?not in '?([\w.]+)'?", whole):
        full = re.search(r"full_key: (\S+)", whole)
        return f"{full[1] if full else match[1]}: there is no such key; check the spelling (`--cfg job` prints all keys)"
    if match := re.search(r"Could not find '([^']+)'", whole):
        options = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)+)", whole)
        choices = ", ".join(options[1].split()) if options else "see configs/"
        return f"{match[1].replace('/', '=', 1)}: there is no such choice; choose one of {choices}"
    if match := re.search(r"You must specify '([^']+)'", whole):
        return f"{match[1]}: is missing; name one, e.g. {match[1]}=..."
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("Value ", "Invalid value", "Incompatible value"))]
    first = (telling or lines[-1:] or ["unknown"])[0]
    override = re.search(r"Error merging override (\S+)", whole)
    full = re.search(r"full_key: (\S+)", whole)
    name = override[1] if override else (full[1] if full else "")
    return f"{name}: {first}; mend the value" if name else f"{first}; mend the command line"


def _known(text: str) -> str:
    match = re.search(r"Key '([^']+)' is not in struct", text) or re.search(r"Key '([^']+)' not in '(\w+)'", text)
    return f" ({match[1]})" if match else ""
