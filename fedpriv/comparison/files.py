"""Files of a comparison, none of them half-written under its name."""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.drawing import Plot, rendered
from fedpriv.comparison.figures import to_csv, to_json
from fedpriv.comparison.report import to_html
from fedpriv.comparison.written import to_latex, to_markdown
from fedpriv.errors import UserError


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole, or leave what is there.

    Raises:
        UserError: when that is not possible.
    """
    fresh = path.with_name(f".{path.name}.fresh")
    try:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.replace(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; choose another place") from error
    finally:
        if fresh.is_file():
            fresh.unlink()


def write_all(folder: Path, found: Comparison, plots: Sequence[Plot]) -> list[str]:
    """Write every form of a comparison to a folder, made where it is missing; return the names of the files.

    ``table.md``, ``table.csv``, ``table.tex``, ``table.json``, ``report.html``, and each plot as PNG and SVG.

    Raises:
        UserError: when that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}; choose another place") from error
    contents: dict[str, str | bytes] = {
        "table.md": to_markdown(found),
        "table.csv": to_csv(found),
        "table.tex": to_latex(found),
        "table.json": to_json(found),
        "report.html": to_html(found, plots),
    }
    for plot in plots:
        contents |= {
            f"{plot.name}.png": rendered(plot.figure, "png"),
            f"{plot.name}.svg": rendered(plot.figure, "svg"),
        }
    for name, content in contents.items():
        write(folder / name, content)
    return list(contents)
