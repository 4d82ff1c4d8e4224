"""A detector that is a graph: pictures in, its head's answer out, in pixels of each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.detection.detector import Detections, suppress
from deploy.detection.network_input import to_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.cameras.frames import Frame
    from deploy.detection.graph import Graph
    from deploy.detection.heads.form import Array, Form, Signature
    from deploy.detection.network_input import Batch

MAX_OVERLAP = 0.45


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A form fitted to one graph."""

    form: Form
    signature: Signature
    order: tuple[int, ...]  # of the outputs, as the form wants them
    person: int

    def read(self, outputs: Sequence[Array]) -> list[Detections]:
        """Return the people of each picture in pixels of the network's input."""
        found = self.form.read([outputs[number] for number in self.order], self.signature, self.person)
        return [suppress(people, MAX_OVERLAP) for people in found] if self.form.suppress else found


class GraphDetector:
    """Stateless but for its input's memory, so that all cameras share one; for one thread at a time."""

    def __init__(self, graph: Graph, head: Head, batch: Batch) -> None:
        self._graph, self._head, self._batch = graph, head, batch
        self.name = f"{head.form.name} on {graph.name}"

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        found: list[Detections] = []
        for start in range(0, len(frames), self._batch.size):
            found += self._detect_together(frames[start : start + self._batch.size])
        return found

    def _detect_together(self, frames: Sequence[Frame]) -> list[Detections]:
        fits = [self._batch.put(row, frame.detector_HWC) for row, frame in enumerate(frames)]
        people = self._head.read(self._graph(self._batch.arrays(len(frames))))
        # A fixed batch was filled up; what it answers behind the frames is nobody's.
        return [to_frame(found, fit) for found, fit in zip(people, fits, strict=False)]

    def close(self) -> None:
        self._graph.close()
