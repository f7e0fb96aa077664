"""The browser view: a process of its own on a real graph, its layers as they travel, its page in a real browser."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from browser import CHROMIUM, Browser
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import OccupancyGrid
from resident_memory import resident_bytes
from ros_graph import TIMEOUT_S, Planner, path, pose, streets, users, wait_until_it_handles
from sensor_msgs.msg import PointCloud2, PointField

from rdflux_ros.node import conversions, qos
from rdflux_ros.node.view_server import Layer, ViewServer

ROOT = Path(__file__).parents[2]
SECOND = 1_000_000_000
Run = Callable[..., "subprocess.Popen[str]"]
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


@pytest.fixture
def run_view(run_node: Run) -> Callable[..., tuple[subprocess.Popen[str], str]]:
    """Starts the view on a free port; its process and address."""

    def run(*arguments: str, **parameters: object) -> tuple[subprocess.Popen[str], str]:
        process = run_node("view", *arguments, **{"port": 0, "rate_hz": 20.0, **parameters})
        return process, address(process)

    return run


def address(process: subprocess.Popen[str]) -> str:
    """Where a view says that it is."""
    said = []
    for line in process.stdout or ():
        if found := re.search(r"open (http://\S+/)", line):
            return found[1]
        said.append(line)
    pytest.fail("the view does not start: " + "".join(said))


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Callable[[str], Browser]]:
    opened: list[Browser] = []

    def open_one(url: str) -> Browser:
        opened.append(Browser(url, tmp_path / f"profile{len(opened)}"))
        return opened[-1]

    yield open_one
    for browser in opened:
        browser.close()


class Listener:
    """What a browser is sent, by layer; reads in a thread of its own."""

    def __init__(self, url: str, **headers: str) -> None:
        self.frames: dict[str, list[tuple[dict[str, Any], bytes, float]]] = {}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen(url, headers)), daemon=True)
        self._thread.start()

    async def _listen(self, url: str, headers: dict[str, str]) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}live", headers=headers) as connection:
            async for message in connection:
                age_s, length = struct.unpack_from("<dI", message.data)
                values = json.loads(message.data[12 : 12 + length])
                frame = values, message.data[12 + length :], age_s
                self.frames.setdefault(values.pop("layer"), []).append(frame)

    def wait(
        self,
        layer: str,
        fits: Callable[[dict[str, Any]], bool] = lambda values: True,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> tuple[Any, bytes, float]:
        """The latest frame of a layer as soon as it fits."""
        end = time.monotonic() + TIMEOUT_S
        while not ((frames := self.frames.get(layer)) and fits(frames[-1][0])):
            assert time.monotonic() < end, f"waited for {layer}; { ({k: v[-1][0] for k, v in self.frames.items()}) }"
            meanwhile()
            time.sleep(0.02)
        return frames[-1]


def publisher(planner: Planner, message_type: type, topic: str, profile: Any) -> Any:
    """A publisher that somebody listens to."""
    made = planner.node.create_publisher(message_type, topic, profile)
    planner.wait(made.get_subscription_count, f"a subscriber of {topic}")
    return made


def sent_until_seen(sender: Any, message: PoseStamped, listener: Listener, layer: str) -> None:
    """Send a pose, which may be lost on its way, until it is drawn."""
    at = message.pose.position
    listener.wait(layer, lambda values: values["position"] == [at.x, at.y, at.z], lambda: sender.publish(message))


def along_path(rows: list[tuple[float, ...]], stamp_s: int = 1) -> PointCloud2:
    """`rows` of x y z coverage mean_pathloss_db worst_user_db."""
    names = ("x", "y", "z", "coverage", "mean_pathloss_db", "worst_user_db")
    message = PointCloud2(height=1, width=len(rows), point_step=24, row_step=24 * len(rows))
    message.header = pose(0.0, 0.0, stamp_ns=stamp_s * SECOND).header
    message.fields = [
        PointField(name=name, offset=4 * number, datatype=PointField.FLOAT32, count=1)
        for number, name in enumerate(names)
    ]
    message.data = np.asarray(rows, "<f4").tobytes()
    return message


def answer_of(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), {}


# --- layers ---------------------------------------------------------------------------------------------------------


def test_a_browser_gets_what_the_mapper_says_and_hears(planner: Planner, run_mapper: Run, run_view: Any) -> None:
    run_mapper(pose_timeout_s=60.0)
    _, url = run_view()
    browser = Listener(url)
    planner.ready(streets(resolution=0.5, width=1024, height=800), listeners=2)
    # Neither is latched: the view hears status and pose from when it and their senders have found each other.
    stamps = itertools.count(SECOND)
    for layer in ("status", "pose pose"):
        browser.wait(layer, meanwhile=lambda: planner.fly(pose(130.2, 121.7, 40.0, stamp_ns=next(stamps))))
    planner.fly(pose(140.0, 125.0, 41.0, stamp_ns=8 * SECOND))
    message = planner.layers(8 * SECOND)[0]
    answered = str(len(planner.heard["radio_map"]))

    for listener in (browser, Listener(url)):  # the second comes late and finds everything
        values, cells, age_s = listener.wait("radio_map", lambda values: values["stamp"] == 8.0)
        info = message.info
        assert cells == message.data.tobytes() and (values["width"], values["height"]) == (256, 256)
        assert values["origin"] == [info.origin.position.x, info.origin.position.y]
        assert (values["resolution"], values["yaw"]) == (1.0, 0.0) and 0 <= age_s < TIMEOUT_S
        values, cells, _ = listener.wait("streets")
        ink = np.frombuffer(cells, np.uint8).reshape(values["height"], values["width"])
        assert (ink.shape, values["resolution"]) == ((800, 1024), 0.5)
        assert ink[150, 220] == 255 and ink[100, 100] == 0  # inside the building, beside it
        values, _, _ = listener.wait("pose pose")
        assert values == {"position": [140.0, 125.0, 41.0], "track": [[130.2, 121.7], [140.0, 125.0]]}
        about, palette, _ = listener.wait("about")
        assert (about["pathloss_db"][0], about["pathloss_db"][100], len(palette)) == (47.84, 147.0, 303)
        health, _, _ = listener.wait("health", lambda values: values["values"].get("poses_answered") == answered)
        assert (health["level"], health["message"], health["device"]) == (0, "mapping", "cpu")
    status, _, _ = browser.wait("status", lambda values: values["stamp"] == 8.0)
    assert (status["values"]["method"], status["level"]) == ("physics", 0)
    assert float(status["values"]["latency_ms.total"]) > 0

    planner.wait(lambda: planner.paths.get_subscription_count() == 2, "mapper and view to listen to the path")
    planner.paths.publish(path((130.0, 120.0, 40.0), (150.0, 120.0, 40.0)))
    along, _, _ = browser.wait("along_path")
    assert along["points"] == browser.wait("path")[0]["points"] == [[130.0, 120.0, 40.0], [150.0, 120.0, 40.0]]
    assert all(0.0 < share <= 1.0 for share in along["coverage"]) and along["worst_user_db"] == [None, None]
    assert along["stamp"] >= browser.wait("path")[0]["stamp"]  # else it would be taken for an older path's


def test_path_users_and_coverage_travel_with_gaps_as_null(planner: Planner, run_view: Any) -> None:
    _, url = run_view()
    browser = Listener(url)
    planner.wait(planner.paths.get_subscription_count, "the view to listen to the path")
    planner.paths.publish(path((10.0, 20.0, 30.0), (float("nan"), 20.0, 30.0), (50.0, 60.0, 30.0)))
    crowd = [(float(n), 5.0) for n in range(3000)]
    planner.users.publish(users(*crowd))
    clouds = publisher(planner, PointCloud2, "radio_map/along_path", qos.LATCHED)
    clouds.publish(along_path([(10, 20, 30, 0.25, 101.5, 120.25), (50, 60, 30, *[float("nan")] * 3)]))
    values, _, _ = browser.wait("path")
    assert values == {"stamp": 1.0, "points": [[10.0, 20.0, 30.0], [None, 20.0, 30.0], [50.0, 60.0, 30.0]]}
    values, _, _ = browser.wait("users")
    assert values["count"] == 3000 and len(values["points"]) == 1000
    assert values["points"][0] == [0.0, 5.0, 0.0] and values["points"][-1] == [2999.0, 5.0, 0.0]
    values, _, _ = browser.wait("along_path")
    assert values["points"] == [[10.0, 20.0, 30.0], [50.0, 60.0, 30.0]]
    assert (values["coverage"], values["mean_pathloss_db"], values["worst_user_db"]) == (
        [0.25, None],
        [101.5, None],
        [120.25, None],
    )


def test_every_transmitter_has_a_place_and_a_track(planner: Planner, run_view: Any) -> None:
    _, url = run_view(drones="two/pose", stations="'7 8 30; 9 10 31'")
    browser = Listener(url)
    second = publisher(planner, PoseStamped, "two/pose", qos.POSE)
    for n in range(1, 4):
        sent_until_seen(planner.poses, pose(10.0 * n, 5.0, stamp_ns=n * SECOND), browser, "pose pose")
        sent_until_seen(second, pose(1.0, 10.0 * n, stamp_ns=n * SECOND), browser, "pose two/pose")
    assert browser.wait("about")[0]["stations"] == [[7.0, 8.0, 30.0], [9.0, 10.0, 31.0]]
    assert browser.wait("pose pose")[0]["track"] == [[10.0, 5.0], [20.0, 5.0], [30.0, 5.0]]
    sent_until_seen(planner.poses, pose(0.0, 0.0, stamp_ns=SECOND), browser, "pose pose")  # the bag starts again
    values = browser.wait("pose pose")[0]
    assert values["track"] == [[0.0, 0.0]] and len(browser.wait("pose two/pose")[0]["track"]) == 3


def test_a_huge_map_is_shrunk_at_its_place(planner: Planner, run_view: Any) -> None:
    _, url = run_view()
    message = streets(width=3001, height=2000, resolution=0.5)
    message.info.origin.position.x = -100.0
    planner.send_map(message)
    values, cells, _ = Listener(url).wait("streets")
    assert len(cells) == values["width"] * values["height"] <= 2_000_000
    assert values["origin"] == [-100.0, 0.0] and values["resolution"] == 1.0
    assert (values["width"], values["height"]) == (1501, 1000)
    ink = np.frombuffer(cells, np.uint8).reshape(values["height"], values["width"])
    assert np.argwhere(ink == 255).min(0).tolist() == [60, 100]  # the building from (100, 60) m of the grid on


def test_what_is_malformed_is_said_once_and_the_last_good_one_stays(planner: Planner, run_view: Any) -> None:
    process, url = run_view()
    browser = Listener(url)
    planner.send_map(streets())
    browser.wait("streets")
    broken = streets()
    broken.info.width = 7
    cloud = along_path([(10, 20, 30, 0.25, 100, 120)])
    cloud.row_step = 7
    clouds = publisher(planner, PointCloud2, "radio_map/along_path", qos.LATCHED)
    for _ in range(3):
        planner.send_map(broken)
        clouds.publish(cloud)
        planner.poses.publish(pose(float("nan"), 1.0))
        time.sleep(0.2)
    sent_until_seen(planner.poses, pose(3.0, 4.0), browser, "pose pose")
    assert len(browser.frames["streets"]) == 1 and "along_path" not in browser.frames
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and "Traceback" not in output
    warned = re.findall(r"(\S+) is not shown: ", output)
    assert sorted(warned) == ["map", "pose", "radio_map/along_path"], output


def test_in_a_namespace_it_shows_that_mapper_alone(planner: Planner, run_mapper: Run, run_view: Any) -> None:
    run_mapper("--ros-args", "-r", "__ns:=/one")
    run_mapper(autostart=False)
    _, url = run_view("--ros-args", "-r", "__ns:=/one")
    _, url_of_root = run_view()
    browser, of_root = Listener(url), Listener(url_of_root)
    publisher(planner, OccupancyGrid, "/one/map", qos.LATCHED).publish(streets())
    assert browser.wait("about")[0]["namespace"] == "/one"
    browser.wait("streets")
    browser.wait("health", lambda values: "map_frame" in values["values"])
    of_root.wait("health", lambda values: values["message"] == "unconfigured")
    for _ in range(3):
        planner.health()
    assert {values["values"]["state"] for values, _, _ in of_root.frames["health"]} == {"unconfigured"}
    assert "streets" not in of_root.frames


# --- server ---------------------------------------------------------------------------------------------------------


def test_the_page_asks_nobody_else_and_other_pages_get_nothing(run_view: Any) -> None:
    _, url = run_view()
    status, page, headers = answer_of(url)
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page) and "https://" not in page
    port = url.rsplit(":", 1)[1].strip("/")
    assert answer_of(f"http://localhost:{port}/")[0] == 200
    assert answer_of(url, Origin="http://elsewhere.example")[0] == 403
    assert answer_of(url, Host=f"elsewhere.example:{port}")[0] == 403  # a name that was made to point here
    assert answer_of(f"{url}nowhere")[0] == 404


def test_a_browser_that_does_not_read_costs_no_memory_and_delays_no_other() -> None:
    server = ViewServer("127.0.0.1", 0)
    try:
        port = int(server.url.rsplit(":", 1)[1].strip("/"))
        asleep = []
        for _ in range(3):
            asleep.append(socket.create_connection(("127.0.0.1", port)))
            asleep[-1].sendall(
                f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            assert asleep[-1].recv(12) == b"HTTP/1.1 101"
        awake = Listener(server.url)
        cells = bytes(1_000_000)

        def show(numbers: range) -> None:
            for number in numbers:
                server.show(Layer("map", {"number": number}, cells))
                awake.wait("map", lambda values, number=number: values["number"] == number)
                awake.frames["map"].clear()
                awake.frames["map"].append(({"number": number}, b"", 0.0))

        show(range(20))
        before = resident_bytes()
        show(range(20, 220))  # 200 MB for each of those that sleep
        assert resident_bytes() - before < 40e6
    finally:
        server.stop()


# --- process --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"port": 70000}, ("port", "0 to 65535")),
        ({"rate_hz": "fast"}, ("rate_hz", "1 to 60")),
        ({"prot": 8080}, ("unknown parameter prot", "port")),
        ({"port": 0, "host": "192.0.2.1"}, ("host 192.0.2.1", "port 0")),
        ({"map_yaml": "nowhere.yaml"}, ("map_yaml", "nowhere.yaml")),
        ({"stations": "'1 2'"}, ("stations", "three numbers")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run_node: Run, parameters: dict[str, Any], says: Any) -> None:
    assert_refused(run_node("view", **parameters), *says)


def test_a_port_that_is_taken_is_named(run_node: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(run_node("view", port=port), f"port {port}", "in use")


def test_without_aiohttp_it_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from rdflux_ros.node.view import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 2 and "pip install" in done.stderr and len(done.stderr.splitlines()) == 1


def test_it_reads_the_mappers_parameter_file_and_its_map(run_view: Any, krems: Path, tmp_path: Path) -> None:
    given = tmp_path / "both.yaml"
    given.write_text(
        (ROOT / "config" / "mapper.yaml").read_text().replace('map_yaml: ""', f"map_yaml: {krems / 'map.yaml'}")
    )
    _, url = run_view("--ros-args", "--params-file", str(given))
    values, _, _ = Listener(url).wait("streets")
    assert (values["width"], values["height"], values["resolution"]) == (768, 768, 1.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(number: signal.Signals, run_view: Any) -> None:
    process, url = run_view()
    Listener(url).wait("about")
    ends_well(process, number)


@pytest.mark.parametrize("delay_s", [0.1, 0.6])
def test_a_signal_while_starting_ends_it_well(delay_s: float, run_node: Run) -> None:
    process = run_node("view", port=0)
    wait_until_it_handles(process, signal.SIGTERM)
    time.sleep(delay_s)
    ends_well(process, signal.SIGTERM)


def ends_well(process: subprocess.Popen[str], number: signal.Signals) -> None:
    start = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and "Traceback" not in output, output
    assert time.monotonic() - start < 2.0


def assert_refused(process: subprocess.Popen[str], *words: str) -> None:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2 and all(word in output for word in words), output
    assert len(output.strip().splitlines()) == 1, output


# --- page -----------------------------------------------------------------------------------------------------------

PIXEL = """(() => {{
  const canvas = document.getElementById("canvas"), ratio = canvas.width / canvas.clientWidth;
  const [left, top] = rdflux.toScreen({x}, {y});
  const pen = canvas.getContext("2d");
  return [...pen.getImageData(Math.floor(left * ratio), Math.floor(top * ratio), 1, 1).data.subarray(0, 3)];
}})()"""
SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


def drawn(browser: Browser, x: float, y: float) -> list[int]:
    """Colour at a point of the map."""
    browser.evaluate(SETTLED)
    return list(browser.evaluate(PIXEL.format(x=x, y=y)))


def state(browser: Browser, wanted: str) -> None:
    browser.wait(f'document.body.dataset.state === "{wanted}"')


@in_chromium
def test_the_page_draws_the_answer_at_its_place_and_says_how_fresh_it_is(
    planner: Planner, run_mapper: Run, run_view: Any, open_page: Callable[[str], Browser]
) -> None:
    process, url = run_view()
    browser = open_page(url)
    state(browser, "silent")
    assert "No radio map yet" in browser.text() and "nothing heard of a mapper" in browser.text()
    run_mapper(pose_timeout_s=60.0)
    planner.wait_for_level(DiagnosticStatus.WARN, "no map")
    state(browser, "waiting")
    browser.wait('document.body.innerText.includes("no map")')

    planner.ready(streets(), listeners=2)
    tour = [pose(130.0 + n, 121.0 + n / 2, 40.0, stamp_ns=(n + 1) * SECOND) for n in range(12)]
    planner.fly(*tour)
    browser.wait(f"rdflux.layers.radio_map.stamp === {len(tour)}")
    state(browser, "live")
    cells, grid = conversions.grid_from_message(planner.layers(len(tour) * SECOND)[0])
    about, palette = browser.evaluate("[rdflux.layers.about.pathloss_db, [...rdflux.layers.about.cells]]")
    colours = np.reshape(palette, (101, 3))
    checked = 0
    for x, y in ((180.5, 200.5), (90.5, 150.5), (60.5, 30.5), (200.5, 60.5), (128.5, 40.5)):
        row, col = (int(v) for v in grid.cells(x, y))
        around = cells[row - 2 : row + 3, col - 2 : col + 3]
        if (around == around[2, 2]).all():  # a pixel may show a neighbour
            assert drawn(browser, x, y) == colours[cells[row, col]].tolist(), (x, y)
            checked += 1
    assert checked >= 2
    grey = drawn(browser, 110.0, 75.0)
    assert max(grey) - min(grey) < 40 and grey == drawn(browser, 105.0, 85.0)  # inside the building
    assert drawn(browser, 141.0, 126.5) == [232, 57, 14]  # the transmitter
    assert drawn(browser, 130.0, 121.0) == [255, 255, 255]  # where its track begins

    browser.point(180.5, 200.5)
    row, col = (int(v) for v in grid.cells(180.5, 200.5))
    db = f"{about[cells[row, col]]:.0f} dB"
    browser.wait(f'document.getElementById("cursor").innerText.includes("{db}")')
    assert "x 180.5 m, y 200.5 m" in browser.text()
    browser.point(110.0, 75.0)
    browser.wait('document.getElementById("cursor").innerText.startsWith("building")')
    said = browser.text()
    assert "physics" in said and "receipt to message" in said and "OK" in said
    browser.evaluate('document.querySelector("details").open = true')
    browser.wait("/poses answered\\s+12/.test(document.body.innerText)")

    assert browser.screenshot()[-3, -3].min() > 200
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.evaluate(SETTLED)
    assert browser.screenshot()[-3, -3].max() < 60 and drawn(browser, 110.0, 75.0) != grey

    state(browser, "stale")
    assert "Stale since" in browser.text() and "mapping" in browser.text()
    latecomer = open_page(run_view()[1])
    latecomer.wait("rdflux.layers.radio_map")
    state(latecomer, "stale")
    assert "from before this view began" in latecomer.text()
    process.kill()
    state(browser, "lost")
    assert "Connection lost" in browser.text()
    assert {re.sub(r"^(http|ws)://", "", asked) for asked in browser.asked} == {url[7:], f"{url[7:]}live"}
    assert [trouble for trouble in browser.troubles if "WebSocket" not in trouble] == []


@in_chromium
def test_the_page_draws_path_coverage_and_users_and_follows(
    planner: Planner, run_view: Any, open_page: Callable[[str], Browser]
) -> None:
    _, url = run_view()
    browser = open_page(url)
    planner.send_map(streets())
    planner.wait(planner.paths.get_subscription_count, "the view to listen to the path")
    clouds = publisher(planner, PointCloud2, "radio_map/along_path", qos.LATCHED)
    route = [(200.0, 300.0, 40.0), (260.0, 300.0, 40.0), (320.0, 300.0, 40.0), (380.0, 300.0, 40.0)]
    planner.paths.publish(path(*route))
    planner.users.publish(users((50.0, 250.0), (400.0, 50.0)))
    browser.wait("rdflux.layers.path && rdflux.layers.users && rdflux.layers.streets")
    for x, y in ((50.0, 250.0), (400.0, 50.0)):
        assert drawn(browser, x, y) == [255, 255, 255]
    assert "2 users" in browser.text() and "coverage along the path" not in browser.text()

    shares = (0.0, 1.0, 0.5, float("nan"))
    clouds.publish(along_path([(*point, share, 101.0, 120.0) for point, share in zip(route, shares, strict=True)]))
    browser.wait("rdflux.layers.along_path")
    colours = [drawn(browser, *point[:2]) for point in route]
    assert colours[0] == [179, 0, 0] and colours[1] == [255, 247, 236] and colours[3] == [138, 143, 152]
    assert "coverage along the path" in browser.text()
    browser.point(320.0, 300.0)
    browser.wait('document.body.innerText.includes("path here: coverage 50 %, mean 101 dB, worst user 120 dB")')

    planner.paths.publish(path(*route[:2], stamp_ns=2 * SECOND))  # what is known is about the old one
    browser.wait('document.getElementById("coverage").hidden')
    browser.evaluate('document.getElementById("follow").click()')
    sent_until_seen(planner.poses, pose(300.0, 200.0), Listener(url), "pose pose")
    browser.wait('rdflux.layers["pose pose"]')
    browser.evaluate(SETTLED)
    width, height = browser.evaluate('[document.getElementById("canvas").clientWidth, innerHeight]')
    assert browser.evaluate("rdflux.toScreen(300, 200)") == pytest.approx([width / 2, height / 2], abs=1)
    assert browser.troubles == []
