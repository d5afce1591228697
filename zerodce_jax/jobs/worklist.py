"""The work of a cluster: the names of millions of photographs."""

import os
from dataclasses import dataclass, field
from typing import Literal

from zerodce_jax.errors import UsageError
from zerodce_jax.jobs import plan
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.storage import Folder
from zerodce_jax.media import formats


@dataclass
class Worklist:
    """A list of items that keeps names as bytes and creates each item on access.

    Folders that cannot be searched come after the photographs.
    """

    source: Folder
    target: Folder
    names: list[bytes] = field(default_factory=list)
    """Paths of the photographs, relative to the source."""
    targets: list[bytes] = field(default_factory=list)
    """Paths of their results, relative to the target."""
    modified: list[int | None] = field(default_factory=list)
    """Modification time of each result, in nanoseconds; None if there is no result yet."""
    problems: list[Item] = field(default_factory=list)
    """Folders that could not be searched."""
    videos: int = 0
    """Number of videos that were left out."""

    def __len__(self) -> int:
        return len(self.names) + len(self.problems)

    def __getitem__(self, number: int) -> Item:
        if number >= len(self.names):
            return self.problems[number - len(self.names)]
        return self.item(self.names[number], self.targets[number], self.modified[number])

    def item(self, name: bytes, target: bytes, modified: int | None) -> Item:
        """Return the item of a photograph and its result, whose paths are relative."""
        source_path = self.source.root / os.fsdecode(name)
        target_path = self.target.root / os.fsdecode(target)
        return Item(source_path, target_path, modified=modified)


def plan_work(
    source: Folder,
    target: Folder,
    *,
    format: Literal["keep"] | formats.Format = "keep",  # noqa: A002
    first_frame: bool = False,
) -> Worklist:
    """List the photographs of a folder and the results that exist, asking each storage once.

    Args:
        source: The folder to search, by the rules of `plan.plan`.
        target: The folder for the results, which is left out of the search.
        format: The format of the results, as for `plan.plan`.
        first_frame: Whether only the first frame of animations is taken; otherwise GIFs are read
            to find out which of them are animations.

    Raises:
        UsageError: There are no photographs, two results would have the same name, or both folders
            are the same.
        InputError: A folder cannot be listed.
    """
    if source == target:
        raise UsageError(f"{source.name}: results need a folder of their own")
    work, taken = Worklist(source, target), set[bytes]()
    times = target.files.modification_times(target.root)
    leave_out = target.root if target.files == source.files else None
    for item in source.files.find(source.root, leave_out):
        if item.problem:
            work.problems.append(item)
            continue
        if item.is_video:
            work.videos += 1
            continue
        animated = (
            not first_frame
            and plan.is_gif(item.source)
            and source.files.is_animated_gif(item.source)
        )
        result = plan.renamed(item.target, "", format, animated=animated)
        name, result_name = os.fsencode(item.target), os.fsencode(result)
        if result_name in taken:
            address = target.files.name(target.root / result)
            raise UsageError(f"{address}: two photographs would be written there")
        taken.add(result_name)
        work.names.append(name)
        # Most names are the same on both sides, and then share one object.
        work.targets.append(name if name == result_name else result_name)
        work.modified.append(times.get(str(result)))
    if not len(work):
        raise UsageError(f"no photographs in {source.name}")
    return work
