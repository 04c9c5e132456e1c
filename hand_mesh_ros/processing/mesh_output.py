"""A mesh file for each hand of each frame."""

from __future__ import annotations

from pathlib import Path

from hand_mesh_ros.conventions import Side
from hand_mesh_ros.processing.mesh_files import FORMATS
from hand_mesh_ros.processing.outputs import Answer, RecordingInfo
from hand_mesh_ros.ros.messages import faces_of


class MeshOutput:
    """`FRAME_SIDE_TRACK.ply`, e.g. `00012_right_1.ply`, in a folder."""

    def __init__(
        self, folder: Path, kind: str, info: RecordingInfo, num_frames: int | None
    ) -> None:
        self._folder, self._kind, self._num_frames = folder, kind, num_frames
        self._encode = FORMATS[kind]
        self._faces = {side: faces_of(info.hand_model, side) for side in Side}
        folder.mkdir()

    def add(self, answer: Answer) -> None:
        """Write the meshes of one frame."""
        if self._num_frames is not None and answer.index >= self._num_frames:
            return
        for hand in answer.result.hands:
            name = f"{answer.index:05d}_{hand.side.name.lower()}_{hand.track_id}.{self._kind}"
            data = self._encode(hand.vertices_m, self._faces[hand.side], hand.vertex_colors)
            (self._folder / name).write_bytes(data)

    def finish(self) -> None:
        """Nothing is left to write."""

    def close(self) -> None:
        """Nothing to let go of."""
