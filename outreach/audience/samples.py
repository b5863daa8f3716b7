"""The sample files that come with the package: a real directory of organisations, and invented contacts."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

DIRECTORY_SOURCE = "solana-directory"
CONTACTS_SOURCE = "invented-contacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleAudience:
    """Paths of the two files, good while the context lasts (the package may be zipped)."""

    directory: Path
    contacts: Path


@contextmanager
def sample_audience() -> Iterator[SampleAudience]:
    """The sample files, ready to import. Their licences: README.md and NOTICE beside them."""
    folder = resources.files("outreach.audience") / "data"
    with ExitStack() as stack:
        yield SampleAudience(
            directory=stack.enter_context(resources.as_file(folder / "solana_directory.csv")),
            contacts=stack.enter_context(resources.as_file(folder / "invented_contacts.csv")),
        )
