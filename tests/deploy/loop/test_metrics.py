from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from deploy.loop.metrics import Metrics
from deploy.loop.pipeline import Seen
from deploy.matching.matcher import Decision
from tests.camera_fakes import frame
from tests.record_material import run_state


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read the text as Prometheus' own client library does."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_the_state_of_the_run_is_read_back() -> None:
    found = samples(Metrics(run_state, lambda: 3.0, live=True))
    camera = (("camera", "visible"),)
    assert found["crosslight_frames_total", camera] == 100
    assert found["crosslight_dropped_frames_total", camera] == 3
    assert found["crosslight_camera_up", camera] == 1
    assert found["crosslight_camera_up", (("camera", "infrared"),)] == 0
    assert found["crosslight_camera_state", (("camera", "infrared"), ("state", "reconnecting"))] == 1
    assert found["crosslight_crop_rejects_total", (*camera, ("reason", "edge"))] == 5
    assert found["crosslight_sink_lost_total", (("sink", "jsonl"),)] == 2
    assert found["crosslight_gallery_people", ()] == 9
    assert found["crosslight_last_round_age_seconds", ()] == 3


def test_time_is_counted_in_histograms() -> None:
    metrics = Metrics(run_state, lambda: 10.25, live=True)
    metrics.stage("detect", 0.004)
    metrics.stage("detect", 0.3)
    seen = Seen(frame=frame(time_s=10.0), boxes={}, crops=[], embeddings={})
    metrics.look([seen], lambda key: Decision(), run_state())
    found = samples(metrics)
    detect = (("stage", "detect"),)
    assert found["crosslight_stage_seconds_count", detect] == 2
    assert found["crosslight_stage_seconds_bucket", (("le", "0.005"), *detect)] == 1
    assert found["crosslight_latency_seconds_sum", (("camera", "visible"),)] == 0.25


def test_a_recording_has_no_latency() -> None:
    metrics = Metrics(run_state, lambda: 10.25, live=False)
    metrics.look([Seen(frame=frame(), boxes={}, crops=[], embeddings={})], lambda key: Decision(), run_state())
    assert not any(name.startswith("crosslight_latency") for name, _ in samples(metrics))


def test_two_runs_of_a_process_do_not_meet() -> None:
    first, second = (Metrics(run_state, lambda: 0.0, live=True) for _ in range(2))
    first.stage("detect", 0.1)
    assert ("crosslight_stage_seconds_count", (("stage", "detect"),)) not in samples(second)
