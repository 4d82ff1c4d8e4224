"""Nothing of a password survives redaction, and what people need to read does."""

from __future__ import annotations

import random
import string
from urllib.parse import quote

import pytest

from deploy.cameras.redact import redact

HOSTS = ("10.0.0.5", "cam.example.org", "cam", "[fe80::1]", "10.0.0.5:554", "[2001:db8::7]:8554", "cam:80")
PATHS = ("", "/", "/live", "/live/1?channel=2", "/Streaming/Channels/101")
AROUND = ("{}", "camera 'gate' {}: no answer in 5 s", "gst:rtspsrc location={} ! decodebin", '"{}"', "a {} b {}")
ALPHABET = string.ascii_letters + string.digits + string.punctuation + "äßñøλЖ愛🔑"


def passwords(count: int) -> list[str]:
    rng = random.Random(7)
    drawn = ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(4, 24))) for _ in range(count)]
    awkward = ["p@ss/w:rd", "@@@@////", "a://b@c", "100%sure", "%40%2F%3A", "user:pass@host/x", "****", "***@real"]
    return [*drawn, *awkward, "12/34@56", "p?q#r&s=t", "[::1]:554/", "p@10.0.0.9/live"]


def leaks(secret: str, text: str) -> list[str]:
    """Runs of four characters of secret that are in text."""
    return [secret[i : i + 4] for i in range(len(secret) - 3) if secret[i : i + 4] in text]


@pytest.mark.parametrize("around", AROUND)
def test_no_four_characters_of_a_password_in_an_address_survive(around: str) -> None:
    rng = random.Random(around)
    for password in passwords(400):
        host, path = rng.choice(HOSTS), rng.choice(PATHS)
        frame = redact(around.replace("{}", f"rtsp://***@{host}{path}"))  # what is there without a password
        for written in (password, quote(password, safe="")):
            text = redact(around.replace("{}", f"rtsp://admin:{written}@{host}{path}"))
            assert [run for run in leaks(written, text) if run not in frame] == [], (password, text)
            assert f"@{host}{path}" in text
            assert "admin" not in text


@pytest.mark.parametrize(
    "name", ["token", "access_token", "password", "pwd", "key", "apikey", "auth", "loginpas", "sig"]
)
def test_no_four_characters_of_a_token_survive(name: str) -> None:
    for secret in passwords(100):
        written = quote(secret, safe="")
        text = redact(f"http://10.0.0.5/video?size=2&{name}={written}&fps=9: refused")
        assert text == f"http://10.0.0.5/video?size=2&{name}=***&fps=9: refused"


def test_properties_of_a_pipeline_are_hidden() -> None:
    for secret in passwords(100):
        escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
        pipeline = (
            f'rtspsrc location="rtsp://10.0.0.5/live" user-id="joe" user-pw="{escaped} end" protocols=tcp ! fakesink'
        )
        text = redact(pipeline)
        assert text == 'rtspsrc location="rtsp://10.0.0.5/live" user-id=*** user-pw=*** protocols=tcp ! fakesink'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:secret@10.0.0.5/live", "rtsp://***@10.0.0.5/live"),
        ("rtsp://TOKEN@10.0.0.5/live", "rtsp://***@10.0.0.5/live"),
        ("RTSP://a:b@h/x and HTTPS://c:d@i/y", "RTSP://***@h/x and HTTPS://***@i/y"),
        ('{"a":"rtsp://u:one1@h/x","b":"http://u:two2@i/y"}', '{"a":"rtsp://***@h/x","b":"http://***@i/y"}'),
        ("rtsp://h/user=admin_password=tlJwpbo6_channel=1", "rtsp://h/user=***"),
        ("rtsp://admin:my pass word@10.0.0.5/live", "rtsp://***@10.0.0.5/live"),
        ("Authorization: Basic YWRtaW46c2VjcmV0\nnext", "Authorization: ***\nnext"),
    ],
)
def test_each_place_of_a_secret_is_known(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "no address at all, mail joe@example.org",
        "rtsp://10.0.0.5:554/live: no answer; write to joe@example.org",
        "http://[fe80::1]:8080/video",
        "camera 'gate' rtsp://***@10.0.0.5/cam@2: no picture",
        "/dev/video2: permission denied",
        "gst:v4l2src device=/dev/video0 ! videoconvert",
        "synthetic:people=4&seed=1",
    ],
)
def test_what_holds_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_an_at_sign_in_a_path_costs_the_host_rather_than_a_password() -> None:
    assert redact("http://10.0.0.5/a@b") == "http://***@b"
