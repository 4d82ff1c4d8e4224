"""Records and camera states to an MQTT broker, with Home Assistant's discovery and a last will.

| topic | retained | what |
|---|---|---|
| BASE/status | yes | `online`; `offline` as the last will and at the end |
| BASE/event/EVENT | no | every record but boxes, as JSON |
| BASE/camera/NAME | yes | state, reason, people in the picture, frames a second |
| BASE/run | yes | people in the gallery, identities, load |
| homeassistant/.../config | yes | discovery: per camera connectivity and people, for the run identities and load |

paho-mqtt connects, and connects again, on a thread of its own; what cannot be sent meanwhile waits in the sink's
bounded queue.
"""

from __future__ import annotations

import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from deploy.cameras.redact import redact
from deploy.loop.health import SEEING
from deploy.sightings import Sighting, TrackEnd, to_json
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.loop.run_state import RunState
    from deploy.sightings import Record

PORTS = {"mqtt": 1883, "mqtts": 8883}
LEFT_OUT = frozenset({"box"})
KEEP_ALIVE_S = 30
SEND_TIMEOUT_S = 5.0
STATE_EVERY_S = 1.0
DISCOVERY = "homeassistant"


class MqttDestination:
    """One broker: `mqtt://USER:PASSWORD@HOST:PORT/BASE`, or `mqtts://` with TLS."""

    name = "mqtt"

    def __init__(self, url: str, state: Callable[[], RunState], password: str | None = None) -> None:
        try:
            parts = urlsplit(url if url.isprintable() else "")
        except ValueError:  # brackets that hold no IPv6 address
            parts = urlsplit("")
        if parts.scheme not in PORTS or not parts.hostname:
            raise BadInput(f"--mqtt: expected mqtt://HOST:PORT/TOPIC or mqtts://, got {redact(url)!r}")
        try:
            port = parts.port or PORTS[parts.scheme]
        except ValueError as error:
            raise BadInput(f"--mqtt: expected a port from 1 to 65535, got {redact(url)!r}") from error
        self.base = parts.path.strip("/") or f"crosslight/{_slug(socket.gethostname())}"
        if "+" in self.base or "#" in url:
            raise BadInput(f"--mqtt: expected a topic without + and #, got {redact(url)!r}")
        self._place = f"{parts.hostname}:{port}"
        self._state = state
        self._refused = ""
        self._announced: set[str] = set()
        self._sent: dict[str, str] = {}
        self._tracks: dict[str, set[int]] = {}
        self._due_s = 0.0
        client: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"crosslight-{_slug(self.base)}")
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password) if parts.password else password)
        if parts.scheme == "mqtts":
            client.tls_set()
        client.will_set(f"{self.base}/status", "offline", qos=1, retain=True)
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.max_queued_messages_set(100)  # the sink's queue is the long one
        client.on_connect = self._connected
        client.connect_async(parts.hostname, port, KEEP_ALIVE_S)
        client.loop_start()
        self._client: Any = client

    def deliver(self, record: Record) -> None:
        if isinstance(record, Sighting):
            self._tracks.setdefault(record.camera, set()).add(record.track)
        elif isinstance(record, TrackEnd):
            self._tracks.get(record.camera, set()).discard(record.track)
        if record.event not in LEFT_OUT:
            self._send(f"{self.base}/event/{record.event}", to_json(record), retain=False)
        self._send_state()

    def idle(self) -> None:
        self._send_state()

    def close(self) -> None:
        if self._client.is_connected():
            self._client.publish(f"{self.base}/status", "offline", qos=1, retain=True).wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            return
        self._refused = ""
        # A broker that was started anew has forgotten what was retained.
        self._announced.clear()
        self._sent.clear()
        client.publish(f"{self.base}/status", "online", qos=1, retain=True)

    def _send(self, topic: str, text: str, *, retain: bool) -> None:
        if not self._client.is_connected():
            raise ConnectionError(f"broker {self._place}: {self._refused or 'not connected'}")
        message = self._client.publish(topic, text, qos=1, retain=retain)
        try:
            message.wait_for_publish(SEND_TIMEOUT_S)
        except (RuntimeError, ValueError) as error:
            raise ConnectionError(f"broker {self._place}: {error}") from error
        if not message.is_published():
            raise TimeoutError(f"broker {self._place}: no answer in {SEND_TIMEOUT_S:g} s")

    def _send_state(self) -> None:
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + STATE_EVERY_S
        state = self._state()
        for camera in state.cameras:
            people = len(self._tracks.get(camera.camera, ())) if camera.state in SEEING else 0
            status = {
                "state": camera.state,
                "delivers": "ON" if camera.state in SEEING else "OFF",
                "reason": camera.reason,
                "people": people,
                "fps": round(camera.fps),
            }
            self._announce_camera(camera.camera)
            self._send_changed(f"{self.base}/camera/{camera.camera}", status)
        self._announce_run()
        run = {
            "people": state.people,
            "identities": state.identities,
            "matched": state.matched_identities,
            "load": state.level,
        }
        self._send_changed(f"{self.base}/run", run)

    def _send_changed(self, topic: str, content: dict[str, Any]) -> None:
        text = json.dumps(content)
        if self._sent.get(topic) != text:
            self._send(topic, text, retain=True)
            self._sent[topic] = text

    def _announce_camera(self, camera: str) -> None:
        topic = f"{self.base}/camera/{camera}"
        self._announce(
            "binary_sensor", f"{camera}_connection", f"{camera} camera", topic, "delivers", device_class="connectivity"
        )
        self._announce("sensor", f"{camera}_people", f"{camera} people", topic, "people", unit_of_measurement="people")

    def _announce_run(self) -> None:
        topic = f"{self.base}/run"
        self._announce(
            "sensor", "gallery_people", "people in the gallery", topic, "people", unit_of_measurement="people"
        )
        self._announce(
            "sensor", "matched", "people seen by both kinds of cameras", topic, "matched", unit_of_measurement="people"
        )
        self._announce("sensor", "load", "load level", topic, "load")

    def _announce(self, kind: str, key: str, name: str, topic: str, value: str, **more: str) -> None:
        node = _slug(self.base)
        place = f"{DISCOVERY}/{kind}/{node}/{_slug(key)}/config"
        if place in self._announced:
            return
        config = {
            "name": name,
            "unique_id": f"{node}_{_slug(key)}",
            "state_topic": topic,
            "value_template": f"{{{{ value_json.{value} }}}}",
            "json_attributes_topic": topic,
            "availability_topic": f"{self.base}/status",
            "payload_available": "online",
            "payload_not_available": "offline",
            "device": {"identifiers": [node], "name": f"Crosslight {self.base}", "manufacturer": "Crosslight"},
            **more,
        }
        self._send(place, json.dumps(config), retain=True)
        self._announced.add(place)


def _slug(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", text).strip("_")
