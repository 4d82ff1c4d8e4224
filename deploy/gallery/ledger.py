"""Who is who in a gallery: every tracklet but its embeddings, labels and the quality of faces, in memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.gallery.protocol import Person, Tracklet
from deploy.gallery.retention import outdated, surplus
from engines.manifest import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from engines.manifest import Modality


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tracklet without its embeddings; `number` is the gallery's own, `rows` how many embeddings it has."""

    number: int
    identity: int
    camera: str
    track: int
    modality: Modality
    first_s: float
    last_s: float
    rows: int


@dataclass(kw_only=True, eq=False)
class Ledger:
    last_identity: int = 0
    last_number: int = 0
    entries: dict[int, Entry] = field(default_factory=dict[int, Entry])
    labels: dict[int, str] = field(default_factory=dict[int, str])
    face_quality: dict[tuple[int, str], float] = field(default_factory=dict[tuple[int, str], float])
    _of: dict[int, dict[int, None]] = field(default_factory=dict[int, dict[int, None]])  # numbers by identity

    def entry(self, tracklet: Tracklet, rows: int) -> Entry:
        """Return what add() takes, with the next number."""
        return Entry(
            number=self.last_number + 1,
            identity=tracklet.identity,
            camera=tracklet.camera,
            track=tracklet.track,
            modality=tracklet.modality,
            first_s=tracklet.first_s,
            last_s=tracklet.last_s,
            rows=rows,
        )

    def add(self, entry: Entry) -> None:
        self.entries[entry.number] = entry
        self._of.setdefault(entry.identity, {})[entry.number] = None
        self.last_number = max(self.last_number, entry.number)
        self.last_identity = max(self.last_identity, entry.identity)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget tracklets; labels and faces stay."""
        for number in numbers:
            entry = self.entries.pop(number)
            of = self._of[entry.identity]
            del of[number]
            if not of:
                del self._of[entry.identity]

    def of(self, identity: int) -> list[Entry]:
        """Return the entries of an identity by time."""
        found = [self.entries[number] for number in self._of.get(identity, ())]
        return sorted(found, key=lambda entry: (entry.first_s, entry.last_s, entry.camera, entry.track))

    def knows(self, identity: int) -> bool:
        """Say whether anything is kept of an identity."""
        faces = any((identity, modality) in self.face_quality for modality in MODALITIES)
        return identity in self._of or identity in self.labels or faces

    def merge(self, kept: int, absorbed: int) -> None:
        for number in self._of.pop(absorbed, {}):
            self._of.setdefault(kept, {})[number] = None
            self.entries[number] = dataclasses.replace(self.entries[number], identity=kept)
        label = self.labels.pop(absorbed, "")
        if label:
            self.labels.setdefault(kept, label)
        for modality in self.better_faces(kept, absorbed):
            self.face_quality[kept, modality] = self.face_quality[absorbed, modality]
        for modality in MODALITIES:
            self.face_quality.pop((absorbed, modality), None)

    def better_faces(self, kept: int, absorbed: int) -> list[Modality]:
        """Return the modalities of which absorbed has the better face."""
        quality = self.face_quality
        return [m for m in MODALITIES if quality.get((absorbed, m), -1.0) > quality.get((kept, m), -1.0)]

    def remove(self, identities: Iterable[int]) -> None:
        """Forget people; their numbers stay used."""
        for identity in identities:
            for number in self._of.pop(identity, {}):
                del self.entries[number]
            self.labels.pop(identity, None)
            for modality in MODALITIES:
                self.face_quality.pop((identity, modality), None)

    def name(self, identity: int, label: str) -> None:
        if label:
            self.labels[identity] = label
        else:
            self.labels.pop(identity, None)

    def people(self) -> list[Person]:
        return [person_of(self.of(identity), self.labels.get(identity, "")) for identity in sorted(self._of)]

    def count_people(self) -> int:
        return len(self._of)

    def expired(self, before_s: float) -> tuple[list[int], list[int]]:
        """Return who goes, and the tracklets that go of people who stay."""
        people: list[int] = []
        numbers: list[int] = []
        for identity, of in sorted(self._of.items()):
            gone = outdated([self.entries[n] for n in of], before_s, labelled=identity in self.labels)
            if len(gone) == len(of):
                people.append(identity)
            else:
                numbers += [entry.number for entry in gone]
        return people, numbers

    def surplus(self, new: Entry) -> list[int]:
        """Return the tracklets that a person has too many with a new one, which was added."""
        return [entry.number for entry in surplus([self.entries[n] for n in self._of[new.identity]], new)]

    def abandoned(self) -> list[int]:
        """Return identities of which only faces are kept: their track never ended, for the run was killed."""
        return sorted({i for i, _ in self.face_quality if i not in self._of and i not in self.labels})


def person_of(entries: list[Entry], label: str) -> Person:
    """Sum up the entries, by time, of one identity."""
    modalities = {entry.modality for entry in entries}
    return Person(
        identity=entries[0].identity,
        label=label,
        enrolled=bool(label),
        first_s=entries[0].first_s,
        last_s=max(entry.last_s for entry in entries),
        cameras=tuple(sorted({entry.camera for entry in entries})),
        modalities=tuple(modality for modality in MODALITIES if modality in modalities),
        tracklets=len(entries),
    )


def tracklet_of(entry: Entry, row_RD: NDArray[np.float32]) -> Tracklet:
    """Put an entry and its embeddings together again."""
    return Tracklet(
        identity=entry.identity,
        camera=entry.camera,
        track=entry.track,
        modality=entry.modality,
        first_s=entry.first_s,
        last_s=entry.last_s,
        mean_D=row_RD[0],
        prototype_PD=row_RD[1:],
    )
