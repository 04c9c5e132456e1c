"""Image networks in the pipeline: what they are fed, and what becomes of what they answer."""

import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from hand_mesh_ros.assembly import IMAGE_NETWORKS, build_pipeline, build_reconstructor  # noqa: E402
from hand_mesh_ros.backends.onnx_backend import OnnxBackEnd  # noqa: E402
from hand_mesh_ros.conventions import RootSource, Side, mirror_rotation  # noqa: E402
from hand_mesh_ros.cropping import aim_crop, crop_image  # noqa: E402
from hand_mesh_ros.evaluation.landmarks import MeasuredLandmarks  # noqa: E402
from hand_mesh_ros.evaluation.models import ModelError, ModelOptions, build_model  # noqa: E402
from hand_mesh_ros.evaluation.runner import evaluate  # noqa: E402
from hand_mesh_ros.evaluation.synthetic_hands import SyntheticHands  # noqa: E402
from hand_mesh_ros.hand_calibration import HandCalibration  # noqa: E402
from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402
from hand_mesh_ros.joint_angles import JointAngles  # noqa: E402
from hand_mesh_ros.networks.amvur import AMVURConfig  # noqa: E402
from hand_mesh_ros.networks.checkpoint import save_network  # noqa: E402
from hand_mesh_ros.networks.checkpoint_file import CheckpointError  # noqa: E402
from hand_mesh_ros.networks.fused import FusedConfig  # noqa: E402
from hand_mesh_ros.networks.handmim import HandMIMConfig  # noqa: E402
from hand_mesh_ros.networks.m3dhmr import M3DHMR, M3DHMRConfig  # noqa: E402
from hand_mesh_ros.networks.maskhand import MaskHandConfig  # noqa: E402
from hand_mesh_ros.networks.registry import build_network  # noqa: E402
from hand_mesh_ros.networks.vq_mano import VQManoConfig  # noqa: E402
from hand_mesh_ros.pipeline import Pipeline  # noqa: E402
from hand_mesh_ros.reconstruction.network import NetworkReconstructor, NetworkUse  # noqa: E402
from hand_mesh_ros.ros.markers import HandMarkers  # noqa: E402
from hand_mesh_ros.ros.messages import hand_mesh, joint_states  # noqa: E402
from hand_mesh_ros.ros.parameters import NodeParameters, ParameterError  # noqa: E402
from hand_mesh_ros.ros.typestore import Typestore  # noqa: E402
from hand_mesh_ros.rotations import axis_angle_from_rotation, rotation_from_axis_angle  # noqa: E402
from hand_mesh_ros.smoothing import HandSmoother  # noqa: E402
from hand_mesh_ros.sources.synthetic import SyntheticCamera  # noqa: E402
from hand_mesh_ros.tracking import Tracker  # noqa: E402
from hand_mesh_ros.types import Detection, Track  # noqa: E402

MODEL = load_open_hand()
SIZE = 64
USE = NetworkUse("m3dhmr", SIZE, takes_landmark_cue=True)


def tracks_of(hands):
    return [Track(hand.track_id, detection_of(hand), hand.side, 0.9, is_new=True) for hand in hands]


def detection_of(hand):
    px = hand.keypoints_px
    return Detection(hand.side, 0.9, 0.9, px, None, np.concatenate([px.min(0), px.max(0)]))


class Knowing:
    """A "network" that knows the truth of one frame's hands, and what it was given."""

    def __init__(self, camera, hands, *, with_pose=False, scale=1.0):
        self.camera, self.hands = camera, hands
        self.with_pose, self.scale = with_pose, scale
        self.given = []

    def __call__(self, inputs):
        self.given.append(inputs)
        answers = [self.answer(hand) for hand in self.hands]
        return {k: np.stack([a[k] for a in answers]).astype(np.float32) for k in answers[0]}

    def answer(self, hand):
        view = aim_crop(self.camera.rays(hand.keypoints_px), hand.side, size_px=SIZE)
        t = hand.T_camera_wrist[:3, 3]
        answer = {"vertices_m": self.scale * view.from_camera(hand.vertices_m - t)}
        if self.with_pose:
            local = rotation_from_axis_angle(hand.pose.reshape(16, 3))
            local[0] = view.R_camera_view.T @ local[0]
            answer["rotations"] = mirror_rotation(local) if hand.side is Side.LEFT else local
            answer["shape"] = hand.shape
        return answer


def scene(seed=1, index=20, hands=2, noise=0):
    source = SyntheticCamera(seed=seed, hands=hands, noise=noise)
    shown = source.frame_at(index)
    return replace(shown.frame, depth_m=source.depth_at(index)), shown.hands


def reconstructor(frame, hands, use=USE, **options):
    knowing = Knowing(frame.camera, hands, **options)
    made = NetworkReconstructor(knowing, use, MODEL, back_end=lambda: "a test")
    return made, knowing


def test_both_hands_come_back_on_their_side_of_the_mirror():
    frame, hands = scene()
    assert {hand.side for hand in hands} == set(Side)
    network, knowing = reconstructor(frame, hands)
    found = network.reconstruct(frame, tracks_of(hands))
    assert len(knowing.given) == 1  # one batch
    for hand, result in zip(hands, found, strict=True):
        t = hand.T_camera_wrist[:3, 3]
        # The wrist is what the mesh says it is: within a millimetre of the joint.
        np.testing.assert_allclose(result.vertices_m, hand.vertices_m - t, atol=1.5e-3)
        np.testing.assert_allclose(result.keypoints_m, hand.keypoints_m - t, atol=3e-3)
        model = MODEL if hand.side is Side.RIGHT else MODEL.mirrored()
        joints = model.pose_hand(hand.pose, hand.shape).joints_m
        np.testing.assert_allclose(result.joints_m, joints, atol=3e-3)
        turn = result.R_camera_hand @ hand.T_camera_wrist[:3, :3].T
        assert np.linalg.norm(axis_angle_from_rotation(turn)) < np.radians(4.0)
        assert result.pose is None
        assert result.shape is None
        assert result.size_stddev == USE.size_stddev
        np.testing.assert_allclose(np.trace(result.rotation_covariance), USE.palm_turn_rad**2)


def test_what_the_network_is_given():
    frame, hands = scene()
    network, knowing = reconstructor(frame, hands)
    tracks = tracks_of(hands)
    missing = tracks[0].detection.keypoints_px.copy()
    missing[8] = np.nan
    tracks[0] = replace(tracks[0], detection=replace(tracks[0].detection, keypoints_px=missing))
    network.reconstruct(frame, tracks)
    image, cue = knowing.given[0]["image"], knowing.given[0]["landmark_cue"]
    assert image.dtype == cue.dtype == np.float32
    assert image.shape == (2, 3, SIZE, SIZE)
    assert 0.0 <= image.min() < 0.3 < image.max() <= 1.0
    np.testing.assert_array_equal(cue[0, 8], 0.0)
    assert (np.delete(cue[0], 8, 0)[:, 2] == 1.0).all()
    uv = cue[1, :, :2]
    np.testing.assert_allclose(0.5 * (uv.min(0) + uv.max(0)), 0.5, atol=2e-3)
    assert np.ptp(uv, axis=0).max() == pytest.approx(1 / USE.box_factor, rel=3e-3)
    # Skin is redder than it is blue: landmarks of the bone's middle lie on skin in the crop too.
    x, y = np.floor(uv[[1, 5, 9, 13, 17]] * SIZE).astype(int).T
    assert np.median(image[1, 0, y, x] - image[1, 2, y, x]) > 0.05
    assert np.median(image[1, 0] - image[1, 2]) < 0.05

    plain, knowing = reconstructor(frame, hands, use=replace(USE, takes_landmark_cue=False))
    plain.reconstruct(frame, tracks)
    assert set(knowing.given[0]) == {"image"}


def test_hands_without_landmarks_are_left_out_of_the_batch():
    frame, hands = scene()
    network, knowing = reconstructor(frame, hands[1:])
    tracks = tracks_of(hands)
    nothing = replace(tracks[0].detection, keypoints_px=np.full((21, 2), np.nan))
    found = network.reconstruct(frame, [replace(tracks[0], detection=nothing), tracks[1]])
    assert found[0] is None
    t = hands[1].T_camera_wrist[:3, 3]
    np.testing.assert_allclose(found[1].vertices_m, hands[1].vertices_m - t, atol=1.5e-3)
    assert network.reconstruct(frame, [replace(tracks[0], detection=nothing)]) == [None]
    assert network.reconstruct(frame, []) == []
    assert len(knowing.given) == 1


def test_a_mesh_that_is_not_finite_is_no_hand():
    frame, hands = scene(hands=1)
    network = NetworkReconstructor(
        lambda inputs: {"vertices_m": np.full((1, 778, 3), np.nan, np.float32)},
        replace(USE, takes_landmark_cue=False),
        MODEL,
        back_end=lambda: "a test",
    )
    assert network.reconstruct(frame, tracks_of(hands)) == [None]


def test_known_and_calibrated_lengths_scale_the_mesh():
    frame, hands = scene()
    knowing = Knowing(frame.camera, hands, scale=0.7)
    length = MODEL.hand_length_m(hands[0].shape)
    network = NetworkReconstructor(
        knowing, USE, MODEL, back_end=lambda: "a test", known_hand_length_m=length
    )
    for hand, result in zip(hands, network.reconstruct(frame, tracks_of(hands)), strict=True):
        truth = hand.vertices_m - hand.T_camera_wrist[:3, 3]
        own = MODEL.hand_length_m(hand.shape)
        np.testing.assert_allclose(result.vertices_m, truth * length / own, atol=3e-3)
        assert result.size_stddev < 0.01
    calibration = HandCalibration(Side.LEFT, MODEL.name, np.zeros(10), 0.15, 0.006, 60, True)
    network.use_calibrations({Side.LEFT: calibration})
    for hand, result in zip(hands, network.reconstruct(frame, tracks_of(hands)), strict=True):
        chain = result.joints_m[[0, 4, 5, 6]]  # wrist and middle finger
        bones = np.linalg.norm(np.diff(chain, axis=0), axis=1).sum()
        template = np.linalg.norm(np.diff(MODEL.joint_template_m[[0, 4, 5, 6]], axis=0), axis=1)
        share = template.sum() / MODEL.hand_length_m(np.zeros(10))
        wanted = 0.15 if hand.side is Side.LEFT else length
        assert bones == pytest.approx(wanted * share, rel=0.03)
        if hand.side is Side.LEFT:
            assert result.size_stddev == pytest.approx(0.04)


def test_a_network_that_gives_rotations_gives_a_pose():
    frame, hands = scene()
    network, _ = reconstructor(frame, hands, with_pose=True)
    for hand, result in zip(hands, network.reconstruct(frame, tracks_of(hands)), strict=True):
        model = MODEL if hand.side is Side.RIGHT else MODEL.mirrored()
        posed = model.pose_hand(result.pose, result.shape)
        truth = hand.vertices_m - hand.T_camera_wrist[:3, 3]
        np.testing.assert_allclose(posed.vertices_m, truth, atol=1e-4)
        np.testing.assert_allclose(
            result.R_camera_hand, rotation_from_axis_angle(result.pose[:3]), atol=1e-5
        )


class Seeing:
    """A detector that finds the true hands."""

    def __init__(self, hands):
        self.hands = hands

    def detect(self, image, stamp_ns):
        return [detection_of(hand) for hand in self.hands]

    def reset(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("with_depth", [False, True])
def test_a_hand_without_pose_goes_through_everything(with_depth):
    frame, hands = scene()
    frame = frame if with_depth else replace(frame, depth_m=None)
    network, _ = reconstructor(frame, hands)
    pipeline = Pipeline(
        detector=Seeing(hands),
        tracker=Tracker(),
        reconstructor=network,
        smoother=HandSmoother(MODEL),
    )
    for stamp_ns in (0, 33_000_000):
        result = pipeline.process(replace(frame, stamp_ns=stamp_ns))
    assert len(result.hands) == 2
    for hand in result.hands:
        true = next(h for h in hands if h.side is hand.side)
        t = true.T_camera_wrist[:3, 3]
        error = np.linalg.norm(hand.T_camera_wrist[:3, 3] - t)
        assert error < 0.02 * np.linalg.norm(t)
        assert hand.pose is None
        assert hand.root_source is (RootSource.DEPTH if with_depth else RootSource.REPROJECTION)
        store = Typestore("jazzy")
        message = hand_mesh(store, hand, 0, "cam")
        assert len(message.pose) == len(message.shape) == 0
        assert len(message.vertices) == 3 * 778
        assert store.encode(message)
        assert HandMarkers(store, MODEL).encode([hand], 0, "cam")
        states = joint_states(store, JointAngles(MODEL), [hand], 0, "cam")
        assert list(states.name) == []


class Doubting(Knowing):
    """One that also draws hands: the true one again, and one that is bent out of all likeness."""

    def answer(self, hand):
        answer = super().answer(hand)
        vertices = answer["vertices_m"]
        deeper, wrong = vertices * [1.0, 1.0, 0.9], vertices * [0.3, 1.0, 1.0]
        several = np.stack([vertices, deeper, wrong])
        return answer | {
            "score": np.array(0.6),
            "hypotheses_vertices_m": several,
            "hypotheses_score": np.array([0.4, 0.1, 0.9]),
        }


def test_what_else_a_hand_may_be_goes_through_the_pipeline():
    frame, hands = scene()
    frame = replace(frame, depth_m=None)
    doubting = Doubting(frame.camera, hands)
    network = NetworkReconstructor(
        doubting, replace(USE, draws=(2, 5, 15)), MODEL, back_end=lambda: "a test"
    )
    pipeline = Pipeline(
        detector=Seeing(hands), tracker=Tracker(), reconstructor=network, smoother=None
    )
    result = pipeline.process(frame)
    assert doubting.given[0]["draws"].shape == (2, 2, 5, 15)
    assert len(result.hands) == 2
    for hand in result.hands:
        true = next(h for h in hands if h.side is hand.side)
        assert hand.score == pytest.approx(0.6 * detection_of(true).score)
        others = [h for h in result.hypotheses if h.track_id == hand.track_id]
        assert [h.score for h in others] == pytest.approx([0.8, 0.2])  # the wrong one is dropped
        np.testing.assert_allclose(others[0].vertices_m, hand.vertices_m)
        # Hands that differ in depth alone scatter where they are far from their middle in depth.
        depth = np.abs(hand.vertices_m[:, 2] - hand.vertices_m[:, 2].mean())
        wanted = 0.1 * depth * np.sqrt(0.8 * 0.2 / 3.0)
        tilted = np.corrcoef(hand.vertex_stddev_m, wanted)[0, 1]
        assert hand.vertex_stddev_m.max() < 0.02
        assert tilted > 0.5


def test_draws_are_those_of_the_image_and_the_track():
    frame, hands = scene()
    given = []
    for stamp_ns in (5, 5, 6):
        doubting = Doubting(frame.camera, hands)
        network = NetworkReconstructor(
            doubting, replace(USE, draws=(2, 5, 15)), MODEL, back_end=lambda: "a test"
        )
        network.reconstruct(replace(frame, stamp_ns=stamp_ns), tracks_of(hands))
        given.append(doubting.given[0]["draws"])
    np.testing.assert_array_equal(given[0], given[1])
    assert not np.allclose(given[0], given[2])
    assert not np.allclose(given[0][0], given[0][1])
    assert given[0].min() >= 0.0
    assert given[0].max() < 1.0


def test_only_networks_that_draw_make_several_hands():
    for model in ("lifter", "m3dhmr"):
        with pytest.raises(ParameterError, match=f'num_hypotheses: got 3, expected 1: "{model}"'):
            build_reconstructor(NodeParameters(model=model, num_hypotheses=3))


def tiny(keypoints="anatomical"):
    return M3DHMRConfig(
        stack_widths=(8,),
        hourglass_width=8,
        image_size_px=SIZE,
        mesh_widths=(8, 8, 8, 8, 8),
        kernels=2,
        landmark_cue=True,
        keypoints=keypoints,
    )


@pytest.fixture(scope="module", autouse=True)
def engine_cache(tmp_path_factory):
    """Engines of these tests do not go to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAND_MESH_CACHE", str(tmp_path_factory.mktemp("engines")))
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    config = tiny()
    network = M3DHMR(config, MODEL)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(
        path,
        "m3dhmr",
        network,
        config,
        MODEL,
        preprocessing={"box_factor": 1.9},
        training={"figures": {"size_stddev": 0.08, "pa_mpjpe_mm": 30.0}},
    )
    return path, network.eval()


def test_a_checkpoint_says_how_it_is_used(checkpoint):
    path, network = checkpoint
    made = build_reconstructor(NodeParameters(model="m3dhmr", checkpoint=str(path)))
    frame, hands = scene()
    found = made.reconstruct(frame, tracks_of(hands))
    assert made.name == "m3dhmr"
    assert found[0].size_stddev == 0.08
    for hand, result in zip(hands, found, strict=True):
        rays = frame.camera.rays(hand.keypoints_px)
        view = aim_crop(rays, hand.side, size_px=SIZE, box_factor=1.9)
        px = view.from_rays(rays)
        cue = np.concatenate([(px + 0.5) / SIZE, np.ones((21, 1))], 1).astype(np.float32)
        image = crop_image(frame.image, frame.camera, view).transpose(2, 0, 1) / 255.0
        with torch.no_grad():
            out = network(torch.tensor(image[None]).float(), torch.tensor(cue[None]))
        expected = view.to_camera(out["vertices_m"][0].numpy())
        np.testing.assert_allclose(result.vertices_m, expected, atol=1e-5)


def test_the_node_says_what_runs_its_network(checkpoint):
    path, _ = checkpoint
    parameters = NodeParameters(
        model="m3dhmr", checkpoint=str(path), backend="torch", device="cpu", precision="bf16"
    )
    said = []
    pipeline = build_pipeline(parameters, log=said.append)
    try:
        assert pipeline.back_end.startswith("torch (CPU) ")
        assert said[-1] == f"back-end of m3dhmr: {pipeline.back_end}"
    finally:
        pipeline.close()


def test_a_wrong_engine_is_refused_in_the_node_too(checkpoint, monkeypatch):
    """Its fall-back computes what eager torch does; log and diagnostics name both."""
    path, _ = checkpoint
    run = OnnxBackEnd.run
    monkeypatch.setattr(
        OnnxBackEnd, "run", lambda self, x: {k: v + 0.005 for k, v in run(self, x).items()}
    )
    said = []
    parameters = NodeParameters(model="m3dhmr", checkpoint=str(path), backend="onnx", device="cpu")
    made = build_reconstructor(parameters, log=said.append)
    refusal = "onnx fp32: refused, "
    assert made.back_end.startswith("torch (CPU) fp32: ")
    assert refusal in made.back_end
    assert any(line.startswith("back-end onnx fp32 is not used: refused, ") for line in said)
    frame, hands = scene()
    right = build_reconstructor(replace(parameters, backend="torch"), log=said.append)
    for found, expected in zip(
        *(r.reconstruct(frame, tracks_of(hands)) for r in (made, right)), strict=True
    ):
        np.testing.assert_array_equal(found.vertices_m, expected.vertices_m)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backend": "tpu"}, "parameter backend: got \"tpu\": back-end 'tpu' is unknown, expected"),
        ({"device": "cuda:7"}, "device is 'cuda:7', this torch sees 0 NVIDIA GPUs"),
        ({"device": "meta"}, "device is 'meta', expected auto, cpu"),
    ],
)
def test_a_backend_that_cannot_be_is_refused(checkpoint, options, says):
    if "cuda" in says and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    path, _ = checkpoint
    with pytest.raises(ParameterError, match=re.escape(says)):
        build_reconstructor(NodeParameters(model="m3dhmr", checkpoint=str(path), **options))


def test_what_cannot_be_loaded_is_said_in_one_line(checkpoint, tmp_path):
    path, network = checkpoint
    with pytest.raises(CheckpointError, match="no checkpoint 'nowhere"):
        build_reconstructor(NodeParameters(model="m3dhmr", checkpoint="nowhere.safetensors"))
    with pytest.raises(CheckpointError, match="weights of network 'm3dhmr', expected 'other'"):
        NetworkReconstructor.load("other", MODEL, checkpoint=str(path))
    with pytest.raises(ParameterError, match='"lifter", "landmark_fit", "fused", "m3dhmr"'):
        build_reconstructor(NodeParameters(model="nothing"))
    impossible = tmp_path / "impossible.safetensors"
    save_network(
        impossible, "m3dhmr", network, tiny(), MODEL, preprocessing={"box_factor": 0.5}, training={}
    )
    with pytest.raises(CheckpointError, match=r"box_factor is 0\.5"):
        NetworkReconstructor.load("m3dhmr", MODEL, checkpoint=str(impossible))


def test_without_torch_the_way_to_install_it_is_named():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from hand_mesh_ros.assembly import build_reconstructor\n"
        "from hand_mesh_ros.ros.parameters import NodeParameters\n"
        "try: build_reconstructor(NodeParameters(model='m3dhmr'))\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == 'model "m3dhmr" needs torch: pip install hand_mesh_ros[torch]\n'


def always_open(*given, **options):
    """In place of a trained network's engine: the template, upright, its back to the camera."""
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    mesh = ((MODEL.template_m - MODEL.joint_template_m[0]) @ turn.T).astype(np.float32)

    def run(inputs):
        return {"vertices_m": np.repeat(mesh[None], len(inputs["image"]), 0)}

    return SimpleNamespace(run=run, state="a test")


TINY = {
    "fused": FusedConfig(image_size_px=SIZE, stage_width=8, levels=2, width=32, hidden=32),
    "m3dhmr": tiny(),
    "handmim": HandMIMConfig(
        backbone="tiny", image_size_px=SIZE, pyramid_width=16, grid_points=5, hidden=32
    ),
    "amvur": AMVURConfig(
        encoder="resnet18", image_size_px=SIZE, widths=(32, 16), heads=2, layers=1, hidden=64
    ),
    "maskhand": replace(
        MaskHandConfig.small(),
        tokeniser=VQManoConfig(tokens_per_joint=1, codes=16, code_width=8, width=16, blocks=1),
        **{"image_size_px": SIZE, "stage_width": 8, "levels": 2, "width": 32, "heads": 4},
        **{"graph_blocks": 1, "layers": 2},
    ),
}


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_every_image_network_answers_in_the_node_and_can_be_evaluated(name, tmp_path, monkeypatch):
    path = tmp_path / "tiny.safetensors"
    torch.manual_seed(0)
    network = build_network(name, TINY[name], MODEL)
    save_network(path, name, network, TINY[name], MODEL, preprocessing={}, training={})
    frame, hands = scene()
    options = {"backend": "torch", "device": "cpu", "max_hands": 2}
    made = build_reconstructor(NodeParameters(model=name, checkpoint=str(path), **options))
    found = made.reconstruct(frame, tracks_of(hands))
    assert [result.vertices_m.shape for result in found] == 2 * [(778, 3)]

    monkeypatch.setattr("hand_mesh_ros.reconstruction.network.open_backend", always_open)
    model = build_model(f"{name}:{path}", ModelOptions())
    assert model.name == f"{name}:{path}"
    assert model.needs_image
    hands = SyntheticHands(MODEL, 4, 5, landmarks=MeasuredLandmarks())
    result = evaluate(hands, [model], show_progress=False).results[0]
    assert len(result.cases) >= 3
    assert (result.errors.pa_mpvpe_mm < 60.0).all()
    assert (result.errors.pa_mpvpe_mm > 1.0).all()
    with pytest.raises(ModelError, match="looks at images"):
        build_model(f"landmarks:{name}", ModelOptions())
