"""Against a real broker, mosquitto, on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.sightings import TrackedFrame
from deploy.sinks import worker
from deploy.sinks.fan_out import FanOut
from deploy.sinks.mqtt import MqttDestination
from engines.errors import BadInput
from tests.record_material import camera_health, run_state, sighting, track_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s, f"waited {seconds} s in vain"
        time.sleep(0.01)


@dataclass
class Broker:
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        passwords = self.folder / "passwords"
        if not passwords.exists():
            passwords.write_text("")
            passwords.chmod(0o600)
            subprocess.run(
                ["mosquitto_passwd", "-b", str(passwords), "cam", "p@ss/w0rd"], check=True, capture_output=True
            )
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
            "persistence false\n"
        )
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self.listens)

    def listens(self) -> bool:
        with socket.socket() as channel:
            return channel.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(5)
            self.process = None


@dataclass
class Listener:
    """Another client of the broker: what arrived last on each topic, and everything in order."""

    port: int
    last: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client: Any = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set("cam", "p@ss/w0rd")
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()

    def _take(self, client: Any, userdata: Any, message: Any) -> None:
        self.last[message.topic] = message.payload.decode()
        if "/event/" in message.topic:
            self.events.append(json.loads(message.payload))

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("needs mosquitto (apt install mosquitto)")
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        port = channel.getsockname()[1]
    server = Broker(tmp_path, port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    client = Listener(broker.port)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(worker, "MOST_WAIT_S", 0.1)
    monkeypatch.setattr(worker, "IDLE_S", 0.1)


def destination(broker: Broker, user: str = "cam", state: Callable[[], Any] = run_state) -> MqttDestination:
    return MqttDestination(f"mqtt://{user}@127.0.0.1:{broker.port}/site/pole", state, "p@ss/w0rd")


def test_records_arrive_in_order_and_boxes_stay_here(broker: Broker, listener: Listener) -> None:
    with FanOut([destination(broker)]) as sink:
        for frame in range(20):
            sink.write(sighting(frame=frame))
            sink.write(TrackedFrame(frame=frame, camera="a", track=1, box_px=(0, 0, 1, 1), score=1.0))
        wait_until(lambda: len(listener.events) == 20)
    assert [event["frame"] for event in listener.events] == list(range(20))
    assert {event["event"] for event in listener.events} == {"sighting"}


def test_home_assistant_finds_cameras_and_hears_of_them(broker: Broker, listener: Listener) -> None:
    with FanOut([destination(broker)]) as sink:
        sink.write(sighting())
        place = "homeassistant/binary_sensor/site_pole/visible_connection/config"
        wait_until(lambda: place in listener.last and "site/pole/run" in listener.last)
        config = json.loads(listener.last[place])
        assert (config["device_class"], config["availability_topic"]) == ("connectivity", "site/pole/status")
        states = {name: json.loads(listener.last[f"site/pole/camera/{name}"]) for name in ("visible", "infrared")}
        assert states["visible"] == {"state": "running", "delivers": "ON", "reason": "", "people": 1, "fps": 10}
        assert (states["infrared"]["delivers"], states["infrared"]["reason"]) == ("OFF", "refused")
        assert json.loads(listener.last["site/pole/run"])["people"] == 9
        identifiers = {
            json.loads(text)["unique_id"] for topic, text in listener.last.items() if topic.endswith("/config")
        }
        assert len(identifiers) == sum(topic.endswith("/config") for topic in listener.last)


def test_people_in_the_picture_are_counted(broker: Broker, listener: Listener) -> None:
    with FanOut([destination(broker)]) as sink:
        for track in (1, 2):
            sink.write(sighting(track=track))
        sink.write(track_end(track=1))
        wait_until(lambda: json.loads(listener.last.get("site/pole/camera/visible", "{}")).get("people") == 1)


def test_a_clean_end_and_a_death_both_leave_offline(broker: Broker, listener: Listener) -> None:
    sink = FanOut([destination(broker)])
    wait_until(lambda: listener.last.get("site/pole/status") == "online")
    sink.close()
    wait_until(lambda: listener.last["site/pole/status"] == "offline")
    script = (
        "import time; from deploy.sinks.mqtt import MqttDestination; from tests.record_material import run_state;"
        f"d = MqttDestination('mqtt://cam@127.0.0.1:{broker.port}/site/pole', run_state, 'p@ss/w0rd'); time.sleep(20)"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    wait_until(lambda: listener.last["site/pole/status"] == "online", 20)
    process.kill()
    process.wait(5)
    wait_until(lambda: listener.last["site/pole/status"] == "offline")


def test_a_broker_that_was_away_gets_what_waited(broker: Broker, listener: Listener) -> None:
    with FanOut([destination(broker)]) as sink:
        sink.write(sighting(frame=0))
        wait_until(lambda: len(listener.events) == 1)
        broker.stop()
        for frame in range(1, 6):
            sink.write(sighting(frame=frame))
        wait_until(lambda: "broker" in sink.states()["mqtt"].trouble)
        broker.start()
        wait_until(lambda: sink.states()["mqtt"].queued == 0, 20)
        assert sink.states()["mqtt"] == (0, 0, "")


def test_a_wrong_password_is_a_named_trouble(broker: Broker) -> None:
    sink = FanOut([destination(broker, user="nobody")])
    sink.write(sighting())
    wait_until(lambda: "Not authorized" in sink.states()["mqtt"].trouble)
    sink.close(0.1)


def test_a_state_that_does_not_change_is_sent_once(broker: Broker, listener: Listener) -> None:
    seen: list[str] = []
    listener.client.on_message = lambda client, userdata, message: seen.append(message.topic)
    with FanOut([destination(broker, state=lambda: run_state(cameras=(camera_health(fps=10.2),)))]):
        wait_until(lambda: "site/pole/run" in seen)
        time.sleep(1.5)
    assert seen.count("site/pole/run") == 1


@pytest.mark.parametrize("url", ["broker:1883", "http://x", "mqtt://", "mqtt://h:99999999", "mqtt://h/a/#"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="--mqtt: expected"):
        MqttDestination(url, run_state)


def test_a_refusal_keeps_the_password() -> None:
    with pytest.raises(BadInput) as caught:
        MqttDestination("http://me:secret99@h", run_state)
    assert "secret99" not in str(caught.value)
