import json

import pytest

from hand_mesh_ros.evaluation.published import PUBLISHED, PUBLISHED_DATASETS, compared
from hand_mesh_ros.evaluation.published_tables import SECOND_HAND
from hand_mesh_ros.evaluation.summary import METRIC_NAMES


def row(dataset: str, method: str) -> dict[str, float]:
    """All that is printed of a method, from every table."""
    found = [r for r in PUBLISHED if r.dataset == dataset and r.method == method]
    assert found, method
    return {name: value for r in found for name, value in r.metrics.items()}


def test_figures_of_the_four_systems():
    assert row("freihand", "M3DHMR, ResNet-34") == {
        "pa_mpjpe_mm": 6.5,
        "pa_mpvpe_mm": 6.6,
        "f_at_5mm": 0.739,
        "f_at_15mm": 0.980,
    }
    assert row("freihand", "MaskHand")["pa_mpvpe_mm"] == 5.4
    assert row("ho3d_v2", "HandMIM, ViT-S") == {
        "pa_mpjpe_mm": 8.57,
        "pa_mpvpe_mm": 8.22,
        "f_at_5mm": 0.597,
        "f_at_15mm": 0.970,
        "st_mpjpe_mm": 24.0,
    }
    assert row("ho3d_v3", "AMVUR")["auc_vertices"] == 0.834
    assert row("dexycb", "MaskHand")["mpvpe_mm"] == 11.2
    assert row("hint_visor", "MaskHand") == {"pck_visible": 0.621}


@pytest.mark.parametrize("result", PUBLISHED, ids=lambda r: f"{r.dataset}: {r.method}")
def test_published_figures_are_plausible_and_have_a_source(result):
    assert result.source
    assert result.metrics
    for name, value in result.metrics.items():
        assert name in METRIC_NAMES or name.startswith("pck_"), name
        # A figure in the wrong column: lengths are millimetres, everything else is a share.
        assert 4.0 < value < 600.0 if name.endswith("_mm") else 0.0 < value < 1.0, name
    if {"f_at_5mm", "f_at_15mm"} <= set(result.metrics):
        assert result.metrics["f_at_5mm"] < result.metrics["f_at_15mm"]


def test_our_row_stands_where_it_belongs():
    result = {"pa_mpjpe_mm": 6.55, "pa_mpvpe_mm": 6.7, "samples": 3960, "st_mpjpe_mm": None}
    table = compared("freihand", "lifter", result)
    assert table.columns == ("pa_mpjpe_mm", "pa_mpvpe_mm")
    position = [r.method for r in table.rows].index("lifter")
    assert table.rows[position - 1].metrics["pa_mpjpe_mm"] <= 6.55
    assert table.rows[position + 1].metrics["pa_mpjpe_mm"] >= 6.55
    # What printed another metric first comes after all that printed this one.
    first = [r.metrics.get("pa_mpjpe_mm") for r in table.rows]
    ranked = [value for value in first if value is not None]
    assert first[: len(ranked)] == sorted(ranked)


def test_shares_are_ranked_from_the_largest():
    rows = compared("hint_newdays", "ours", {"pck_all": 0.5}).rows
    values = [r.metrics["pck_all"] for r in rows]
    assert values == sorted(values, reverse=True)
    assert [r.method for r in rows].index("ours") == 2


def test_markdown_has_a_bold_row_and_every_cell():
    text = compared("ho3d_v3", "ours", {"pa_mpjpe_mm": 9.0, "auc": 0.82}).as_markdown()
    lines = text.splitlines()
    assert lines[0] == "| Method | PA-MPJPE mm | AUC | Source |"
    assert "| **ours** | **9.00** | **0.820** | **measured here** |" in lines
    assert "| AMVUR | 8.7 | 0.826 | AMVUR (arXiv 2304.14299), table 2 |" in lines
    assert "| HMP | 10.2 |  | HMP (arXiv 2312.16737), supplement |" in lines
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {5}
    assert SECOND_HAND in lines[-1]


def test_json_marks_our_row_and_has_null_for_what_was_not_printed():
    report = compared("ho3d_v3", "AMVUR", {"pa_mpjpe_mm": 8.7, "auc": 0.82}).as_json()
    report = json.loads(json.dumps(report))
    assert report["dataset"] == "ho3d_v3"
    own = [r for r in report["rows"] if r["own"]]
    assert own == [
        {
            "method": "AMVUR",
            "source": "measured here",
            "own": True,
            "pa_mpjpe_mm": 8.7,
            "auc": 0.82,
        }
    ]
    assert next(r for r in report["rows"] if r["method"] == "HMP")["auc"] is None


def test_unknown_data_sets_and_nothing_to_compare_are_refused():
    with pytest.raises(ValueError, match="'synthetic'; there are some for freihand, ho3d_v2"):
        compared("synthetic", "ours", {"pa_mpjpe_mm": 5.0})
    with pytest.raises(ValueError, match="the result has fps, pa_mpjpe_mm"):
        compared("freihand", "ours", {"pa_mpjpe_mm": None, "fps": 30})
    assert "freihand" in PUBLISHED_DATASETS
