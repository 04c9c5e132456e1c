"""AMVUR's texture: what is seen, what is read where, drawing it back, figures, that it learns."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("lightning", reason="the train extra is not installed")

from onnx_parity import both_outputs  # noqa: E402  # torch may be absent

from hand_mesh_ros.conventions import Side  # noqa: E402  # torch may be absent
from hand_mesh_ros.cropping import aim_crop  # noqa: E402
from hand_mesh_ros.evaluation.image_quality import masked_psnr_db, masked_ssim  # noqa: E402
from hand_mesh_ros.hand_models.open_hand import load_open_hand  # noqa: E402
from hand_mesh_ros.hand_models.vertex_keypoints import sample_hands  # noqa: E402
from hand_mesh_ros.networks.amvur import AMVUR, AMVURConfig  # noqa: E402
from hand_mesh_ros.networks.amvur_losses import texture_loss  # noqa: E402
from hand_mesh_ros.networks.amvur_prior import START_CAMERA, project, true_camera  # noqa: E402
from hand_mesh_ros.networks.amvur_texture import sampled_at, view_rays  # noqa: E402
from hand_mesh_ros.reconstruction.network import NetworkReconstructor, NetworkUse  # noqa: E402
from hand_mesh_ros.sources.synthetic import SyntheticCamera  # noqa: E402
from hand_mesh_ros.training.batch_stream import BatchStream  # noqa: E402
from hand_mesh_ros.training.engine_crops import EngineCrops  # noqa: E402
from hand_mesh_ros.training.landmark_noise import LandmarkNoise  # noqa: E402
from hand_mesh_ros.training.run_config import default_run_config  # noqa: E402
from hand_mesh_ros.training.synthetic_config import SyntheticConfig  # noqa: E402
from hand_mesh_ros.training.texture_rendering import render_hands  # noqa: E402
from hand_mesh_ros.training.trainer import build_task  # noqa: E402
from hand_mesh_ros.types import Detection, Track  # noqa: E402

HAND = load_open_hand()
FACES = torch.tensor(HAND.faces.astype("int64"))
SIZE = 64
TINY = AMVURConfig(
    encoder="resnet18",
    image_size_px=SIZE,
    mesh_level=2,
    widths=(16,),
    heads=2,
    layers=1,
    hidden=32,
    from_prior=True,
    texture="local",
    texture_width=32,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def tiny(**changes):
    return AMVUR(replace(TINY, **changes), HAND)


@pytest.fixture(scope="module")
def hands():
    """Twenty hands from all sides, and cameras that have them in the middle of the crop."""
    vertices, _ = sample_hands(HAND, "anatomical", 20, seed=3)
    rng = np.random.default_rng(0)
    turns = [np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in vertices]
    turned = [v @ (R * np.sign(np.linalg.det(R))).T for v, R in zip(vertices, turns, strict=True)]
    vertices = torch.tensor(np.stack(turned), dtype=torch.float32)
    camera = torch.tensor([START_CAMERA]).repeat(20, 1)
    camera[:, 1:3] = 0.5 - camera[:, :1].exp() * vertices[..., :2].mean(dim=1)
    return vertices, camera


# --- what is seen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [3, 4])
def test_what_is_seen_agrees_with_the_rasteriser(hands, numbers):
    vertices, camera = hands[0], hands[1][:, :numbers]
    drawn = render_hands(vertices, camera, torch.zeros_like(vertices), FACES, 224)
    found = tiny().texture.seen_vertices(vertices, camera)
    assert 0.25 < found.float().mean() < 0.5
    assert drawn.seen[found].float().mean() > 0.94
    # The rasteriser's corners at the rim, whose pixels are half background, are left out.
    assert found[drawn.seen].float().mean() > 0.65


def test_fingers_before_the_palm_hide_it(hands):
    """A hand and its copy 5 cm behind it: of the copy nothing is seen but at its rim."""
    vertices, camera = hands[0][:1], hands[1][:1]
    net = tiny().texture
    behind = vertices + torch.tensor([0.0, 0.0, 0.05])
    alone = net.seen_vertices(behind, camera[:, :3])
    # Both in one mesh, as far as the test knows: twice the vertices and faces.
    net.faces = torch.cat([FACES, FACES + 778])
    zero = torch.zeros_like(net.faces_of_vertex)
    touches = net.faces_of_vertex
    net.faces_of_vertex = torch.cat(
        [torch.cat([touches, zero], 1), torch.cat([zero, touches], 1)], 0
    )
    both = net.seen_vertices(torch.cat([vertices, behind], 1), camera[:, :3])[0, 778:]
    assert alone.sum() > 150
    assert both.sum() < 0.15 * alone.sum()


def test_back_and_outside_are_not_seen(hands):
    net, (vertices, camera) = tiny().texture, hands
    aside = camera + torch.tensor([0.0, 2.0, 0.0, 0.0])
    assert not net.seen_vertices(vertices, aside).any()
    front = net.seen_vertices(vertices, camera[:, :3])
    flipped = vertices * torch.tensor([-1.0, 1.0, -1.0])  # turned half round
    mirrored = camera[:, :3] * torch.tensor([1.0, -1.0, 1.0]) + torch.tensor([0.0, 1.0, 0.0])
    back = net.seen_vertices(flipped, mirrored)
    assert not (front & back).any()


def test_rays_point_at_their_pixels(hands):
    vertices, camera = hands
    rays = view_rays(project(vertices, camera), camera)
    # The wrist is this far from the camera: everything in its axes.
    scale, u, v, q = camera.unbind(1)
    wrist = torch.stack([(u - 0.5) / scale.exp(), (v - 0.5) / scale.exp(), 1.0 / q.exp()], 1)
    truth = vertices + wrist[:, None]
    assert torch.allclose(
        rays / rays.norm(dim=2, keepdim=True), truth / truth.norm(dim=2, keepdim=True), atol=1e-5
    )


# --- what is read and drawn -----------------------------------------------------------------------


def test_maps_are_read_at_their_pixels():
    x, y = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="xy")
    uv = torch.tensor([[[(3 + 0.5) / 8, (5 + 0.5) / 8], [0.5, 0.25]]])
    read = sampled_at(torch.stack([x, y])[None], uv)
    assert read[0].flatten().tolist() == pytest.approx([3.0, 5.0, 3.5, 1.5])


def test_colours_of_a_drawn_hand_are_read_back(hands):
    """Paint, draw, read: eq. 11 undoes interpolation where the hand is seen."""
    vertices, camera = hands
    colors = 0.5 + 4.0 * vertices.clamp(-0.1, 0.1)  # changes slowly over the skin
    drawn = render_hands(vertices, camera, colors, FACES, 128)
    assert drawn.image.shape == (20, 3, 128, 128)
    assert 0.05 < drawn.mask.float().mean() < 0.5
    assert (drawn.image[~drawn.mask[:, None].expand(-1, 3, -1, -1)] == 0).all()
    seen = tiny().texture.seen_vertices(vertices, camera)
    read = sampled_at(drawn.image, project(vertices, camera))
    error = (read - colors).abs().mean(2)[seen]
    assert error.median() < 0.01
    assert error.quantile(0.7) < 0.05  # the rim is half background


def test_only_vertices_that_are_seen_are_painted_by_the_loss(hands):
    vertices, camera = hands[0][:2], hands[1][:2]
    colors = torch.full((2, 778, 3), 0.5, requires_grad=True)
    drawn = render_hands(vertices, camera, colors, FACES, SIZE)
    loss = texture_loss(drawn.image, torch.zeros(2, 3, SIZE, SIZE), drawn.mask)
    assert loss.item() == pytest.approx(0.5, abs=1e-5)
    loss.backward()
    painted = colors.grad.abs().sum(2) > 0
    assert (painted <= drawn.seen).all()
    assert painted.sum() > 100


def test_loss_is_masked():
    image = torch.zeros(1, 3, 4, 4)
    other, mask = image.clone(), torch.zeros(1, 4, 4, dtype=torch.bool)
    other[:, :, 0, 0], other[:, :, 3, 3] = 0.4, 9.0
    mask[:, 0, :2] = True
    assert texture_loss(other, image, mask).item() == pytest.approx(0.2)
    assert texture_loss(other, image, mask & False).item() == 0.0


# --- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("texture", ["local", "global", "one_color"])
def test_every_texture_gives_colours_and_trains(texture):
    network = tiny(texture=texture).train()
    out = network(**network.example_inputs(2))
    colors = out["vertex_colors"]
    assert colors.shape == (2, 778, 3)
    assert 0.0 <= colors.min() <= colors.max() <= 1.0
    assert (colors.std(dim=1).max() < 1e-6) == (texture == "one_color")
    colors.square().sum().backward()
    for name, parameter in network.texture.named_parameters():
        assert parameter.grad is not None, f"{name} is of no use"
    geometry = [p for m in (network.camera, network.prior) for p in m.parameters()]
    assert all(p.grad is None for p in geometry), "colours move the mesh"


def test_hidden_vertices_read_no_pixels():
    """A seen vertex's pixel matters to it; a hidden one's does not reach it but by attention."""
    network = tiny().eval()
    for parameter in network.texture.among.parameters():
        torch.nn.init.zeros_(parameter)
    image = network.example_inputs(1)["image"]
    with torch.no_grad():
        estimate = network.estimate(image)
        vertices, camera = estimate.vertices_m, estimate.camera
        seen = network.texture.seen_vertices(vertices, camera)[0]
        first = network.texture(image, estimate.features, vertices, camera)[0]
        second = network.texture(1.0 - image, estimate.features, vertices, camera)[0]
    change = (first - second).abs().sum(1)
    assert 50 < seen.sum() < 700
    assert change[~seen].max() < 1e-6
    assert change[seen].min() > 1e-4


def test_onnx_runtime_gives_the_same():
    [(found, expected)] = both_outputs(tiny(), 3)
    for name, values in found.items():
        off = np.abs(values - expected[name].numpy())
        if name == "vertex_colors":  # a vertex on the brink may be seen by one, hidden to the other
            assert (off < 1e-3).mean() > 0.99
        else:
            assert off.max() < 2e-4, name
    assert expected["vertex_colors"].std() > 0.02


def test_local_features_paint_better_than_one_colour():
    """On true meshes in true cameras, so that only the colours are learned."""
    images = SyntheticConfig(size_px=SIZE, bank_size=16, skin_detail=0)
    engine = EngineCrops(HAND, images, LandmarkNoise.load(), template_size=True)
    batch = engine.batch(4, np.random.default_rng(0), torch.device("cpu"))
    image, vertices = batch["image"], batch["vertices_m"]
    camera = true_camera(batch["root_m"], batch["K_crop"], SIZE)
    psnr = {}
    for texture in ("local", "global", "one_color"):
        network = tiny(texture=texture)
        with torch.no_grad():
            features = network.estimate(image).features
        optimiser = torch.optim.Adam(network.texture.parameters(), 3e-3)
        for _ in range(25):
            colors = network.texture(image, features, vertices, camera)
            drawn = render_hands(vertices, camera, colors, FACES, SIZE)
            mask = drawn.mask & batch["mask"]
            optimiser.zero_grad()
            texture_loss(drawn.image, image, mask).backward()
            optimiser.step()
        psnr[texture] = masked_psnr_db(drawn.image.detach(), image, mask).mean().item()
    print(psnr)
    assert psnr["local"] > psnr["global"] + 1.0
    assert psnr["local"] > psnr["one_color"] + 1.0


def test_the_task_trains_and_measures_the_texture():
    changes = [
        *(f"network.image_size_px={SIZE}", "network.texture=local", "network.landmark_cue=false"),
        *("task.images={bank_size: 16, skin_detail: 0}", "task.validation_hands=2"),
        *("trainer.batch_size=2", "task.backbone_weights=''"),
    ]
    task = build_task(default_run_config("amvur").assigned(changes))
    batch = next(task.batches(BatchStream("val", torch.device("cpu"))))
    terms = task.losses(batch, step=0)
    assert terms["texture"].item() > 0.0
    terms["texture"].backward()
    assert task.network.texture.local.weight.grad.abs().sum() > 0.0
    with torch.no_grad():
        figures = task.validate(task.network.eval(), [batch])
    assert 0.0 < figures["texture_ssim"] < 1.0
    assert 3.0 < figures["texture_psnr_db"] < 40.0
    assert figures["hidden_to_seen_stddev"] > 0.0


# --- figures --------------------------------------------------------------------------------------


def test_ssim_and_psnr_in_closed_form():
    truth = torch.rand(2, 3, 32, 32)
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[:, 8:24, 8:24] = True
    assert masked_ssim(truth, truth, mask).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert masked_psnr_db(truth + 0.1, truth, mask).tolist() == pytest.approx(
        [20.0, 20.0], abs=1e-4
    )
    outside = truth.clone()
    outside[:, :, ~mask[0]] = 0.0
    assert masked_ssim(outside, truth, mask).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    # Two flat images: structure says nothing, luminance 2 a b / (a^2 + b^2).
    flat, other = torch.full_like(truth, 0.4), torch.full_like(truth, 0.8)
    full = torch.ones_like(mask)
    c1 = 0.01**2
    expected = (2 * 0.4 * 0.8 + c1) / (0.4**2 + 0.8**2 + c1)
    assert masked_ssim(flat, other, full).tolist() == pytest.approx([expected] * 2, abs=1e-3)
    noisy = (truth + 0.3 * torch.randn_like(truth)).clamp(0, 1)
    assert (masked_ssim(noisy, truth, mask) < 0.9).all()
    with pytest.raises(ValueError, match=r"mask torch.float32 \(2, 32, 32\)"):
        masked_ssim(truth, truth, mask.float())


# --- in the node ----------------------------------------------------------------------------------


def test_deviations_and_colours_reach_the_reconstruction_of_either_hand():
    source = SyntheticCamera(seed=1, hands=2, noise=0)
    shown = source.frame_at(20)
    colors = np.linspace(0.0, 1.0, 778 * 3).reshape(778, 3)
    stddev = np.linspace(0.001, 0.01, 778)

    def run(inputs):
        answers = []
        for hand in shown.hands:
            rays = shown.frame.camera.rays(hand.keypoints_px)
            view = aim_crop(rays, hand.side, size_px=SIZE)
            t = hand.T_camera_wrist[:3, 3]
            answers.append(0.5 * view.from_camera(hand.vertices_m - t))
        return {
            "vertices_m": np.stack(answers).astype(np.float32),
            "vertex_stddev_m": np.stack([stddev, 2.0 * stddev]).astype(np.float32),
            "keypoint_stddev_m": np.full((2, 21), 0.004, np.float32),
            "vertex_colors": np.stack([colors, 1.0 - colors]).astype(np.float32),
        }

    def track(hand):
        px = hand.keypoints_px
        box = np.concatenate([px.min(0), px.max(0)])
        return Track(
            hand.track_id, Detection(hand.side, 0.9, 0.9, px, None, box), hand.side, 0.9, True
        )

    tracks = [track(hand) for hand in shown.hands]
    assert {t.side for t in tracks} == set(Side)
    length = HAND.hand_length_m(shown.hands[0].shape)
    use = NetworkUse("amvur", SIZE)
    plain = NetworkReconstructor(run, use, HAND, back_end=lambda: "a test")
    for i, found in enumerate(plain.reconstruct(shown.frame, tracks)):
        np.testing.assert_allclose(found.vertex_stddev_m, (1 + i) * stddev, rtol=1e-5)
        np.testing.assert_allclose(found.keypoint_stddev_m, 0.004, rtol=1e-5)
        assert found.vertex_colors.dtype == np.uint8
        wanted = 255.0 * (colors if i == 0 else 1.0 - colors)
        assert np.abs(found.vertex_colors - wanted).max() <= 0.5 + 1e-3
    # A mesh of half the size that is scaled up has deviations that are scaled up.
    scaled = NetworkReconstructor(
        run, use, HAND, back_end=lambda: "a test", known_hand_length_m=length
    )
    found = scaled.reconstruct(shown.frame, tracks)[0]
    np.testing.assert_allclose(found.vertex_stddev_m, 2.0 * stddev, rtol=0.03)

    def broken(inputs):
        out = run(inputs)
        out["vertex_stddev_m"][0, 5] = np.nan
        out["keypoint_stddev_m"][0, 5] = np.inf
        out["vertex_colors"][0, 5] = np.inf
        return out

    first, second = NetworkReconstructor(broken, use, HAND, back_end=lambda: "a test").reconstruct(
        shown.frame, tracks
    )
    assert first.vertex_stddev_m is None
    assert first.keypoint_stddev_m is None
    assert first.vertex_colors is None
    assert second.vertex_stddev_m is not None
