"""What other methods reached, as their papers print it; keys are those of reports.

Lengths are mm, F and AUC are shares. Papers disagree about some methods (ensembles, test-time
augmentation, another evaluation): where two print different figures, both are here.
"""

from __future__ import annotations

_AMVUR = "AMVUR (arXiv 2304.14299)"
_HANDMIM = "HandMIM (arXiv 2307.16061)"
_M3DHMR = "M3DHMR (arXiv 2505.20058), table 4"
_MASKHAND = "MaskHand (arXiv 2412.13393)"
_HMP = "HMP (arXiv 2312.16737), supplement"
_EGOFORCE = "EgoForce (arXiv 2605.12498), table 1"
_SCALEHP = "ScaleHP (arXiv 2606.25619), abstract"
_PLOTS = "Hand3DResearch (github.com/SeanChenxy), FreiHAND curves"
SECOND_HAND = "second hand"
"""A figure that was not read in the paper itself: check it before quoting it."""

_ = None

FREIHAND = (
    ("pa_mpjpe_mm", "pa_mpvpe_mm", "f_at_5mm", "f_at_15mm"),
    (
        ("FreiHAND (MANO CNN)", _M3DHMR, 11.0, 10.9, 0.516, 0.934),
        ("ObMan", _M3DHMR, _, 13.2, 0.436, 0.908),
        ("Boukhayma et al.", _M3DHMR, _, 13.0, 0.435, 0.898),
        ("MobileHand", _M3DHMR, _, 13.1, 0.439, 0.902),
        ("YoutubeHand", _M3DHMR, 8.4, 8.6, 0.614, 0.966),
        ("I2L-MeshNet", _M3DHMR, 7.4, 7.6, 0.681, 0.973),
        ("Pose2Mesh", _M3DHMR, 7.7, 7.8, 0.674, 0.969),
        ("HIU-DMTL", _M3DHMR, 7.1, 7.3, 0.699, 0.974),
        ("CMR, ResNet-50", _M3DHMR, 6.9, 7.0, 0.715, 0.977),
        ("I2UV-HandNet", _M3DHMR, 6.7, 6.9, 0.707, 0.977),
        ("I2UV-HandNet", f"{_HANDMIM}, table 2", 7.2, 7.4, 0.707, 0.977),
        ("Tang et al.", _M3DHMR, 6.7, 6.7, 0.724, 0.981),
        ("Tang et al.", f"{_HANDMIM}, table 2", 7.1, 7.1, 0.706, 0.977),
        ("METRO", _M3DHMR, 6.7, 6.8, 0.717, 0.981),
        ("MeshGraphormer", _M3DHMR, 5.9, 6.0, 0.764, 0.986),
        ("MeshGraphormer, no ensemble", f"{_HANDMIM}, table 2", 6.6, 6.8, 0.732, 0.982),
        ("PointHMR", _M3DHMR, 6.1, 6.6, 0.720, 0.984),
        ("MobRecon, GhostStack", _M3DHMR, 8.8, 9.1, 0.597, 0.960),
        ("MobRecon, DenseStack", _M3DHMR, 6.9, 7.2, 0.694, 0.979),
        ("MobRecon, ResNet-18", _M3DHMR, 6.7, 6.8, 0.727, 0.979),
        ("MobRecon, ResNet-34", _M3DHMR, 6.6, 6.7, 0.730, 0.979),
        ("CLIP-Hand3D", _M3DHMR, 6.6, 6.7, 0.728, 0.981),
        ("FastViT", _M3DHMR, 6.6, 6.7, 0.722, 0.981),
        ("M3DHMR, ResNet-18", _M3DHMR, 6.6, 6.7, 0.734, 0.978),
        ("M3DHMR, ResNet-34", _M3DHMR, 6.5, 6.6, 0.739, 0.980),
        ("HandMIM, ViT-S", f"{_HANDMIM}, table 5", 6.57, 6.57, 0.725, 0.984),
        ("HandMIM, ViT-B", f"{_HANDMIM}, table 2", _, _, 0.731, 0.985),
        ("HandMIM, ViT-L", _HANDMIM, _, 6.29, 0.744, 0.986),
        ("ViT-S (ImageNet) + PyMAF", f"{_HANDMIM}, table 2", 7.2, 7.1, 0.697, 0.978),
        ("ViT-L (ImageNet) + PyMAF", f"{_HANDMIM}, table 2", 6.6, 6.6, 0.727, 0.983),
        ("HaMeR, ViT-B, FreiHAND alone", f"{_HANDMIM}, table 2", 10.72, _, _, _),
        ("HaMeR", _M3DHMR, 6.0, 5.7, 0.785, 0.990),
        ("HaMeR, 170k steps", _M3DHMR, 6.1, 5.8, 0.782, 0.990),
        ("HHMR", SECOND_HAND, 5.8, 5.8, _, _),
        ("Zhou et al. 2024", SECOND_HAND, 5.8, 6.1, _, _),
        ("Hamba", SECOND_HAND, _, 5.3, _, _),
        ("WiLoR", SECOND_HAND, 5.5, 5.1, _, _),
        ("ReJSHand", "ReJSHand (arXiv 2503.05995)", 6.3, 6.4, 0.756, 0.984),
        ("TokenHand", SECOND_HAND, 5.7, _, _, _),
        ("MaskHand", _MASKHAND, 5.5, 5.4, 0.801, 0.991),
    ),
)

FREIHAND_AUC = (
    ("auc", "auc_vertices", "cs_auc", "cs_auc_vertices"),
    (
        ("FreiHAND (MANO CNN)", _PLOTS, _, _, 0.185, 0.184),
        ("ObMan", _PLOTS, _, _, 0.167, 0.168),
        ("CMR", _PLOTS, 0.863, 0.861, 0.304, 0.303),
        ("MobRecon", _PLOTS, 0.887, 0.884, 0.337, 0.336),
        ("I2L-MeshNet", _PLOTS, 0.854, 0.850, 0.233, 0.232),
        ("HIU-DMTL", _PLOTS, 0.860, 0.856, 0.234, 0.233),
        ("MeshGraphormer", _PLOTS, 0.884, 0.881, _, _),
        ("METRO", _PLOTS, 0.867, 0.865, _, _),
        ("I2UV-HandNet", SECOND_HAND, 0.865, 0.862, _, _),
        ("Pose2Mesh", _PLOTS, 0.852, 0.850, _, _),
        ("YoutubeHand", _PLOTS, 0.834, 0.830, _, _),
    ),
)

FREIHAND_CAMERA = (
    ("cs_mpjpe_mm",),
    (("ScaleHP", _SCALEHP, 35.8),),
)

_HO3D_METRICS = ("auc", "pa_mpjpe_mm", "auc_vertices", "pa_mpvpe_mm", "f_at_5mm", "f_at_15mm")

HO3D_V2 = (
    _HO3D_METRICS,
    (
        ("Hasson et al.", f"{_AMVUR}, table 1", 0.780, 11.0, 0.777, 11.2, 0.464, 0.939),
        ("Hampali et al.", f"{_AMVUR}, table 1", 0.788, 10.7, 0.790, 10.6, 0.506, 0.942),
        ("ArtiBoost", f"{_AMVUR}, table 1", 0.773, 11.4, 0.782, 10.9, 0.488, 0.944),
        ("Pose2Mesh", f"{_AMVUR}, table 1", 0.754, 12.5, 0.749, 12.7, 0.441, 0.909),
        ("I2L-MeshNet", f"{_AMVUR}, table 1", 0.775, 11.2, 0.722, 13.9, 0.409, 0.932),
        ("METRO", f"{_AMVUR}, table 1", 0.792, 10.4, 0.779, 11.1, 0.484, 0.946),
        ("I2UV-HandNet", f"{_AMVUR}, table 1", 0.804, 9.9, 0.799, 10.1, 0.500, 0.943),
        ("Keypoint Transformer", f"{_AMVUR}, table 1", 0.786, 10.8, _, _, _, _),
        ("Liu et al.", f"{_AMVUR}, table 1", 0.803, 9.9, 0.810, 9.5, 0.528, 0.956),
        ("MobRecon", f"{_AMVUR}, table 1", _, 9.2, _, 9.4, 0.538, 0.957),
        ("HandOccNet", f"{_AMVUR}, table 1", 0.819, 9.1, 0.819, 8.8, 0.564, 0.963),
        ("AMVUR, prior-net alone", f"{_AMVUR}, table 1", 0.783, 10.9, 0.77, 11.5, 0.460, 0.936),
        ("AMVUR, no prior", f"{_AMVUR}, table 1", 0.814, 9.3, 0.813, 9.4, 0.533, 0.958),
        ("AMVUR", f"{_AMVUR}, table 1", 0.835, 8.3, 0.836, 8.2, 0.608, 0.965),
        ("S2HAND (weak)", f"{_AMVUR}, table 1", 0.765, _, 0.769, _, 0.44, 0.93),
        ("AMVUR prior-net (weak)", f"{_AMVUR}, table 1", 0.752, 12.4, 0.760, 12.0, 0.417, 0.925),
        ("AMVUR, no prior (weak)", f"{_AMVUR}, table 1", 0.778, 10.8, 0.698, 15.1, 0.375, 0.907),
        ("AMVUR (weak)", f"{_AMVUR}, table 1", 0.787, 10.3, 0.784, 10.8, 0.48, 0.949),
        ("HandMIM, ViT-S", f"{_HANDMIM}, table 5", _, 8.57, _, 8.22, 0.597, 0.970),
        ("HandMIM, ViT-B", f"{_HANDMIM}, table 3", _, _, _, _, 0.610, 0.971),
        ("HandMIM, ViT-L", _HANDMIM, _, _, _, 8.00, 0.617, 0.972),
        ("ViT-S (ImageNet) + PyMAF", f"{_HANDMIM}, table 3", _, 9.18, _, 8.78, 0.567, 0.963),
        ("ViT-L (ImageNet) + PyMAF", f"{_HANDMIM}, table 3", _, 8.73, _, 8.43, 0.588, 0.970),
        ("WiLoR", SECOND_HAND, _, 7.50, _, _, _, _),
        ("Deformer", SECOND_HAND, _, 9.40, _, _, _, _),
        ("HaMeR", SECOND_HAND, 0.846, 7.7, 0.841, 7.9, 0.635, 0.980),
    ),
)

HO3D_V2_SCALE_TRANSLATION = (
    ("st_mpjpe_mm",),
    (
        ("Liu et al.", f"{_HANDMIM}, table 3", 31.7),
        ("HandOccNet", f"{_HANDMIM}, table 3", 24.0),
        ("ViT-S (ImageNet) + PyMAF", f"{_HANDMIM}, table 3", 26.37),
        ("ViT-L (ImageNet) + PyMAF", f"{_HANDMIM}, table 3", 23.57),
        ("HandMIM, ViT-S", f"{_HANDMIM}, table 3", 24.00),
        ("HandMIM, ViT-B", f"{_HANDMIM}, table 3", 22.01),
        ("HandMIM, ViT-L", f"{_HANDMIM}, table 3", 21.94),
    ),
)

HO3D_V3 = (
    _HO3D_METRICS,
    (
        ("ArtiBoost", f"{_AMVUR}, table 2", 0.785, 10.8, 0.792, 10.4, 0.507, 0.946),
        ("Keypoint Transformer", f"{_AMVUR}, table 2", 0.785, 10.9, _, _, _, _),
        ("HandGCAT", SECOND_HAND, 0.814, 9.3, 0.818, 9.1, 0.552, 0.956),
        ("HMP", _HMP, _, 10.2, _, 9.9, 0.510, 0.946),
        ("AMVUR, prior-net alone", f"{_AMVUR}, table 2", 0.780, 11.3, 0.781, 11.0, 0.471, 0.931),
        ("AMVUR, no prior", f"{_AMVUR}, table 2", 0.803, 9.8, 0.811, 9.7, 0.528, 0.953),
        ("AMVUR", f"{_AMVUR}, table 2", 0.826, 8.7, 0.834, 8.3, 0.593, 0.964),
        ("S2HAND (weak)", f"{_AMVUR}, table 2", 0.769, 11.5, 0.778, 11.1, 0.448, 0.932),
        ("AMVUR prior-net (weak)", f"{_AMVUR}, table 2", 0.759, 12.1, 0.763, 11.9, 0.422, 0.921),
        ("AMVUR, no prior (weak)", f"{_AMVUR}, table 2", 0.778, 10.9, 0.724, 13.6, 0.403, 0.904),
        ("AMVUR (weak)", f"{_AMVUR}, table 2", 0.789, 10.5, 0.785, 10.7, 0.475, 0.944),
        ("ScaleHP", _SCALEHP, _, 5.9, _, _, _, _),
        ("MaskHand, zero-shot", _MASKHAND, 0.860, 7.0, 0.860, 7.0, 0.663, 0.984),
    ),
)

HO3D_CAMERA = (
    ("cs_mpjpe_mm",),
    (
        ("HaMeR, default focal length", _EGOFORCE, 561.5),
        ("MobRecon", _EGOFORCE, 121.7),
        ("HandOccNet", _EGOFORCE, 156.4),
        ("HandDGP", _EGOFORCE, 50.3),
    ),
)

DEXYCB = (
    ("pa_mpjpe_mm", "mpjpe_mm", "pa_mpvpe_mm", "mpvpe_mm"),
    (
        ("MobRecon", SECOND_HAND, _, 14.2, _, _),
        ("TCMR", SECOND_HAND, 6.28, 16.03, _, _),
        ("Deformer", SECOND_HAND, 5.22, 13.64, _, _),
        ("Zhou et al. 2024", SECOND_HAND, 5.5, 12.4, 5.5, 12.1),
        ("WiLoR", SECOND_HAND, 4.88, 12.75, _, _),
        ("PAD-Hand", SECOND_HAND, 4.63, 10.56, _, _),
        ("ScaleHP", _SCALEHP, 4.6, _, _, _),
        ("MaskHand", _MASKHAND, 5.0, 11.7, 4.9, 11.2),
    ),
)

HINT = {
    # method, source, then PCK@0.05 of New Days, VISOR, Ego4D.
    "pck_all": (
        ("FrankMocap", SECOND_HAND, 0.161, 0.168, 0.131),
        ("METRO", SECOND_HAND, 0.147, 0.168, 0.132),
        ("MeshGraphormer", SECOND_HAND, 0.168, 0.191, 0.146),
        ("HandOccNet, parametric", SECOND_HAND, 0.091, 0.081, 0.077),
        ("HandOccNet, mesh", SECOND_HAND, 0.137, 0.124, 0.109),
        ("ViTPose-Hands", SECOND_HAND, 0.322, 0.400, 0.233),
        ("HaMeR, without HInt", SECOND_HAND, 0.480, 0.430, 0.389),
        ("Hamba", SECOND_HAND, 0.487, 0.472, _),
        ("HaMeR, trained with HInt", SECOND_HAND, 0.516, 0.565, 0.469),
        ("MaskHand", SECOND_HAND, 0.487, _, _),
        ("DINO-X Pro (2D)", SECOND_HAND, 0.543, 0.630, 0.660),
    ),
    "pck_visible": (
        ("FrankMocap", SECOND_HAND, 0.201, 0.204, 0.163),
        ("METRO", SECOND_HAND, 0.192, 0.197, 0.158),
        ("MeshGraphormer", SECOND_HAND, 0.223, 0.236, 0.184),
        ("HandOccNet, parametric", SECOND_HAND, 0.102, 0.085, 0.073),
        ("HandOccNet, mesh", SECOND_HAND, 0.157, 0.131, 0.112),
        ("ViTPose-Hands", SECOND_HAND, 0.440, 0.557, 0.350),
        ("HaMeR, without HInt", SECOND_HAND, 0.608, 0.566, 0.520),
        ("Hamba", SECOND_HAND, 0.612, 0.614, _),
        ("HaMeR, trained with HInt", SECOND_HAND, 0.629, 0.665, 0.591),
        ("MaskHand", _MASKHAND, 0.610, 0.621, 0.593),
        ("DINO-X Pro (2D)", SECOND_HAND, 0.693, 0.780, 0.811),
    ),
    "pck_occluded": (
        ("FrankMocap", SECOND_HAND, 0.092, 0.110, 0.084),
        ("METRO", SECOND_HAND, 0.070, 0.102, 0.081),
        ("MeshGraphormer", SECOND_HAND, 0.079, 0.109, 0.083),
        ("HandOccNet, parametric", SECOND_HAND, 0.072, 0.074, 0.080),
        ("HandOccNet, mesh", SECOND_HAND, 0.098, 0.099, 0.096),
        ("ViTPose-Hands", SECOND_HAND, 0.139, 0.212, 0.103),
        ("HaMeR, without HInt", SECOND_HAND, 0.272, 0.259, 0.230),
        ("Hamba", SECOND_HAND, 0.282, 0.299, _),
        ("HaMeR, trained with HInt", SECOND_HAND, 0.332, 0.426, 0.331),
        ("MaskHand", _MASKHAND, 0.294, _, _),
        ("DINO-X Pro (2D)", SECOND_HAND, 0.344, 0.480, 0.491),
    ),
}
HINT_PARTS = ("hint_newdays", "hint_visor", "hint_ego4d")
