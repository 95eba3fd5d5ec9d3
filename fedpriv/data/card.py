"""What every data set says about itself: where it comes from and on which terms."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetCard:
    """Facts about a data set, printed by ``fedpriv-data list`` and in refusals.

    Attributes:
        name: as in ``data=name``.
        title: its full name.
        tasks: which tasks it serves, of ``gaze``, ``emotion``, ``face``, ``classification``.
        contents: images, people and labels, e.g. ``35,887 grey faces of 48 x 48, 7 expressions``.
        licence: terms of use in a few words.
        source: where to get it: a web address, or ``rendered`` for what fedpriv makes itself.
        layout: what ``data.root`` must hold, e.g. ``fer2013.csv``.
        citation: authors, year, venue or arXiv number.
        protocol: the published evaluation protocol in a few words.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    contents: str
    licence: str
    source: str
    layout: str
    citation: str
    protocol: str

    @property
    def hint(self) -> str:
        """Where to get it and what it must look like, to end a refusal with."""
        return f"data.root must hold {self.layout}; get it from {self.source} ({self.licence})"
