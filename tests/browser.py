"""Headless Chromium, driven over a pipe by the Chrome DevTools Protocol: what the tests of the report page need of it.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, ended by a zero byte, on descriptors 3 and 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """Path of the browser that the system has, None without one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with one tab; a context manager. `errors` and `requests` collect what the page says and asks for."""

    def __init__(self, timeout: float = 60):
        self.timeout, self.errors, self.requests = timeout, [], []
        self._number, self._waiting, self._buffer, self._session = 0, {}, b"", None

    def __enter__(self) -> "Browser":
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        options = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars",
                   "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
                   "--force-color-profile=srgb", f"--user-data-dir={self._profile.name}", "about:blank"]  # fmt: skip
        if os.geteuid() == 0:
            options.insert(0, "--no-sandbox")
        # The shell puts the two ends where Chromium looks for them, whatever numbers they have here.
        script = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, find_chromium(), *options], pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *error) -> None:
        try:
            self._session = None
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._read)
            os.close(self._write)
            self._profile.cleanup()

    def send(self, method: str, **params):
        """The result of a command. RuntimeError for one that is refused, TimeoutError for one without an answer."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        self._until(lambda: number in self._waiting, method)
        answer = self._waiting.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False, media: str = "") -> float:
        """Show a file in a window of this size; returns the seconds until its scripts had run."""
        self.errors.clear()
        self.requests.clear()
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._loaded = False
        start = time.perf_counter()
        self.send("Page.navigate", url=Path(path).resolve().as_uri())
        self._until(lambda: self._loaded, "loading the page")
        self.run("1")
        return time.perf_counter() - start

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def run(self, expression: str):
        """The value of a JavaScript expression, awaited. AssertionError with what it threw."""
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str, text: str = "", shift: bool = False) -> None:
        """One stroke of a key, named as in KeyboardEvent.key."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowUp": 38, "ArrowRight": 39, "Escape": 27}
        text = text or {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0), "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, whole: bool = True) -> bytes:
        """PNG of the whole page, or of what the window shows."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def pdf(self) -> bytes:
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])

    def _until(self, done, what: str) -> None:
        end = time.monotonic() + self.timeout
        while not done():
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{what}: no answer within {self.timeout} seconds")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError(f"{what}: the browser has ended")
            *messages, self._buffer = (self._buffer + part).split(b"\0")
            for message in messages:
                self._receive(json.loads(message))

    def _receive(self, message: dict) -> None:
        if "id" in message:
            self._waiting[message["id"]] = message
            return
        method, params = message["method"], message["params"]
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
