"""What Prometheus reads: counts out of the newest state of the run, and histograms of time.

| metric | labels | what |
|---|---|---|
| crosslight_stage_seconds | stage | histogram: one stage of one round |
| crosslight_latency_seconds | camera | histogram: from the capture of a live picture to its records |
| crosslight_frames_total, crosslight_dropped_frames_total, crosslight_skipped_frames_total | camera | taken by the camera; thrown away by it; left out by the loop |
| crosslight_reconnects_total, crosslight_camera_up, crosslight_newest_frame_age_seconds, crosslight_camera_fps | camera | |
| crosslight_camera_state | camera, state | 1 for the present state |
| crosslight_tracks_total, crosslight_live_tracks | camera; none | |
| crosslight_crops_total, crosslight_crop_rejects_total | none; camera, reason | |
| crosslight_failures_total | part | engine: batches, detector: rounds |
| crosslight_load_level | | deploy.loop.load: 0 nothing is left out |
| crosslight_identities_total, crosslight_matched_identities_total | | named in this run; seen by both kinds of cameras |
| crosslight_gallery_people, crosslight_gallery_tracklets | | |
| crosslight_sink_queue, crosslight_sink_lost_total | sink | |
| crosslight_rounds_total, crosslight_last_round_age_seconds | | rounds of the loop; how long ago it was alive |

No label holds an address or a name of a person.
"""  # noqa: E501

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from deploy.loop.health import SEEING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from deploy.loop.pipeline import Seen
    from deploy.loop.run_state import RunState
    from deploy.matching.matcher import Decision
    from deploy.sightings import TrackKey

STAGE_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LATENCY_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A registry of its own, so that two runs of one process do not meet. Also an onlooker of the loop."""

    def __init__(self, state: Callable[[], RunState], clock: Callable[[], float], *, live: bool) -> None:
        self._state, self._clock, self._live = state, clock, live
        self._registry = CollectorRegistry()
        self._stages = Histogram(
            "crosslight_stage_seconds", "Time of one stage of one round", ["stage"], registry=self._registry,
            buckets=STAGE_BUCKETS_S,
        )  # fmt: skip
        self._latency = Histogram(
            "crosslight_latency_seconds", "From the capture of a live picture to its records", ["camera"],
            registry=self._registry, buckets=LATENCY_BUCKETS_S,
        )  # fmt: skip
        self._registry.register(_StateCollector(state, clock))

    def stage(self, name: str, seconds: float) -> None:
        self._stages.labels(name).observe(seconds)

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        if self._live:
            now_s = self._clock()
            for item in seen:
                self._latency.labels(item.frame.camera).observe(max(0.0, now_s - item.frame.time_s))

    def end(self, key: TrackKey, decision: Decision) -> None: ...

    def text(self) -> bytes:
        """Return Prometheus' text format."""
        return generate_latest(self._registry)


class _StateCollector:
    def __init__(self, state: Callable[[], RunState], clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        yield from _cameras(state)
        skipped = CounterMetricFamily("crosslight_skipped_frames", "Frames left out by the loop", labels=["camera"])
        tracks = CounterMetricFamily("crosslight_tracks", "Tracks", labels=["camera"])
        rejects = CounterMetricFamily("crosslight_crop_rejects", "Crops not embedded", labels=["camera", "reason"])
        for name, count in state.skipped.items():
            skipped.add_metric([name], count)
        for name, count in state.tracks.items():
            tracks.add_metric([name], count)
        for name, reasons in state.rejects.items():
            for reason, count in reasons.items():
                rejects.add_metric([name, reason], count)
        failures = CounterMetricFamily("crosslight_failures", "Failed calls", labels=["part"])
        failures.add_metric(["engine"], state.embed_failures)
        failures.add_metric(["detector"], state.detect_failures)
        queue = GaugeMetricFamily("crosslight_sink_queue", "Records that wait", labels=["sink"])
        lost = CounterMetricFamily("crosslight_sink_lost", "Records that were lost", labels=["sink"])
        for name, sink in state.sinks.items():
            queue.add_metric([name], sink.queued)
            lost.add_metric([name], sink.lost)
        yield from (skipped, tracks, rejects, failures, queue, lost)
        yield CounterMetricFamily("crosslight_rounds", "Rounds of the loop", state.rounds)
        yield CounterMetricFamily("crosslight_crops", "Embedded crops", state.crops)
        yield CounterMetricFamily("crosslight_identities", "Identities named in this run", state.identities)
        yield CounterMetricFamily(
            "crosslight_matched_identities", "Identities seen by both kinds of cameras", state.matched_identities
        )
        yield GaugeMetricFamily("crosslight_live_tracks", "Tracks in the pictures", state.live_tracks)
        yield GaugeMetricFamily("crosslight_load_level", "0: nothing is left out", state.level)
        yield GaugeMetricFamily("crosslight_gallery_people", "People in the gallery", state.people)
        yield GaugeMetricFamily("crosslight_gallery_tracklets", "Tracklets in the gallery", state.tracklets)
        yield GaugeMetricFamily(
            "crosslight_last_round_age_seconds", "Since the loop was alive", max(0.0, self._clock() - state.round_s)
        )


def _cameras(state: RunState) -> Iterator[Metric]:
    taken = CounterMetricFamily("crosslight_frames", "Frames taken", labels=["camera"])
    dropped = CounterMetricFamily("crosslight_dropped_frames", "Frames thrown away", labels=["camera"])
    reconnects = CounterMetricFamily("crosslight_reconnects", "Reconnects", labels=["camera"])
    up = GaugeMetricFamily("crosslight_camera_up", "1: delivers", labels=["camera"])
    present = GaugeMetricFamily("crosslight_camera_state", "1: present state", labels=["camera", "state"])
    age = GaugeMetricFamily("crosslight_newest_frame_age_seconds", "Age of the newest frame", labels=["camera"])
    rate = GaugeMetricFamily("crosslight_camera_fps", "Frames a second", labels=["camera"])
    for camera in state.cameras:
        name = [camera.camera]
        taken.add_metric(name, camera.frames)
        dropped.add_metric(name, camera.dropped)
        reconnects.add_metric(name, camera.reconnects)
        up.add_metric(name, float(camera.state in SEEING))
        present.add_metric([*name, camera.state], 1.0)
        if camera.age_s is not None:
            age.add_metric(name, camera.age_s)
        rate.add_metric(name, camera.fps)
    yield from (taken, dropped, reconnects, up, present, age, rate)
