"""A browser that draws nothing: takes what the page of `hand-mesh view` sends, and counts it.

Run as a program it does so for a while: python page_client.py ws://127.0.0.1:8080 SECONDS
"""

import json
import sys
import time

_CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": (1.0, 0.0, 0.0, 0.0),
    "position": (0.0, 0.0, -1.0),
    "fov": 1.0,
    "near": 0.01,
    "far": 100.0,
    "image_height": 600,
    "image_width": 800,
    "look_at": (0.0, 0.0, 0.0),
    "up_direction": (0.0, -1.0, 0.0),
}


class PageClient:
    """Connected like a browser with one view."""

    def __init__(self, url):
        import msgspec
        import viser
        from websockets.sync.client import connect

        protocol = f"viser-v{viser.__version__}"
        self._socket = connect(url, subprotocols=[protocol], max_size=None, compression=None)
        self._socket.send(msgspec.msgpack.encode(_CAMERA))
        self.num_bytes = self.num_messages = 0

    def listen(self, seconds):
        """Take messages for so long."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            try:
                data = self._socket.recv(timeout=left_s)
            except TimeoutError:
                return
            self.num_bytes += len(data)
            self.num_messages += 1

    def close(self):
        self._socket.close()


if __name__ == "__main__":
    client = PageClient(sys.argv[1])
    client.listen(float(sys.argv[2]))
    client.close()
    print(json.dumps({"bytes": client.num_bytes, "messages": client.num_messages}))
