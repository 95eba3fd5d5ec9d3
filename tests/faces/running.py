"""Server and key holder on real sockets in this process, with an owner and a caller beside them."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from fedpriv.faces.caller import Asking
from fedpriv.faces.embedder import Embedder
from fedpriv.faces.holding import KeyHolderSettings
from fedpriv.faces.keyholder import build_keyholder
from fedpriv.faces.owner import Owner, admit
from fedpriv.faces.server import ServerSettings, build_server
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from fedpriv.services.running import server

DIMENSION = 16
THRESHOLD = 0.5


def faces(count: int, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Pictures:
    """An embedder whose pictures are numbers: file ``7.png`` is the seventh face; nothing is read."""

    def __init__(self, vectors: np.ndarray, digest: str = "1" * 64) -> None:
        self.vectors = vectors
        self.embedder = Embedder("numbers", (1, 8, 8), vectors.shape[1], digest, self._function)

    def _function(self, images: np.ndarray) -> np.ndarray:
        return self.vectors[images[:, 0, 0, 0].astype(int) + 256 * images[:, 0, 0, 1].astype(int)]

    def files(self, folder: Path, *numbers: int) -> list[Path]:
        from PIL import Image

        folder.mkdir(exist_ok=True)
        paths = []
        for number in numbers:
            pixels = np.zeros((8, 8), np.uint8)
            pixels[0, :2] = number % 256, number // 256
            paths.append(folder / f"{number}.png")
            Image.fromarray(pixels).save(paths[-1])
        return paths


class Services:
    """A loop in a thread that serves applications on free ports."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[tuple[uvicorn.Server, Any]] = []
        self._thread.start()

    def start(self, app: Any, settings: Any) -> int:
        running = server(app, settings)

        async def begin() -> Any:
            task = asyncio.ensure_future(running.serve())
            while not running.started and not task.done():
                await asyncio.sleep(0.005)
            assert running.started
            return task

        task = asyncio.run_coroutine_threadsafe(begin(), self._loop).result(30)
        self._servers.append((running, task))
        return running.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        for running, task in self._servers:
            running.should_exit = True

            async def ended(task: Any = task) -> None:
                await task

            asyncio.run_coroutine_threadsafe(ended(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Running:
    """A gallery with its three parties.

    Attributes:
        owner: folder of the owner; ``gallery`` of the server; ``caller`` of the caller.
        server: URL; ``keyholder`` likewise.
        vectors: the faces that pictures are of.
    """

    def __init__(self, folder: Path, vectors: np.ndarray, plain: bool = False, **policy: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.owner, self.gallery, self.caller = folder / "owner", folder / "gallery", folder / "caller"
        self.owner.mkdir(mode=0o700)
        self.keys = UserKeys.make(SETS["faces"])
        self.keys.save(self.owner)
        Gallery.make(self.gallery, self.keys.public, vectors.shape[1], plain)
        self.plain = plain
        self.pictures, self._folder = Pictures(vectors), folder / "pictures"
        self._services = Services()
        server_settings = ServerSettings(port=0, folder=self.gallery)
        self.server_app = build_server(server_settings)
        self.server_port = self._services.start(self.server_app, server_settings)
        settings = KeyHolderSettings(port=0, owner=self.owner, threshold=THRESHOLD, **policy)
        self.keyholder_app = build_keyholder(settings)
        self.keyholder_port = self._services.start(self.keyholder_app, settings)
        self.server, self.keyholder = (
            f"http://127.0.0.1:{port}" for port in (self.server_port, self.keyholder_port)
        )
        admit(self.owner, "door", self.caller, None)

    def as_owner(self) -> Owner:
        return Owner(self.owner, self.server)

    def enrol(self, people: dict[str, list[int]]) -> None:
        files = {name: self.pictures.files(self._folder, *numbers) for name, numbers in people.items()}
        self.as_owner().enrol(files, self.pictures.embedder, self.plain)

    def asking(self, caller: Path | None = None, plain_probe: bool | None = None) -> Asking:
        """Return the caller; its probes are plain, which is faster, where the gallery is not."""
        plain = not self.plain if plain_probe is None else plain_probe
        return Asking(caller or self.caller, self.server, self.keyholder, plain_probe=plain)

    def stop(self) -> None:
        self._services.stop()
