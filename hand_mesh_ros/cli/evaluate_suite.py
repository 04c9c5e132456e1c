"""`hand-mesh evaluate --suite`: every model of the package in one table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.report_file import write_text

DEFAULT_SAMPLES = 2000


def check(args: argparse.Namespace) -> None:
    """Refuse before anything long begins."""
    from hand_mesh_ros.evaluation.models import KINDS
    from hand_mesh_ros.evaluation.suite import SUITES

    if args.suite not in SUITES:
        raise UsageError(f"--suite {args.suite!r} is unknown; expected {', '.join(SUITES)}")
    chosen = (
        ("--dataset", args.dataset is not None),
        ("--plots", args.plots is not None),
        ("--submission", args.submission is not None),
        ("--mano", bool(args.mano)),
        ("--keypoints", args.keypoints != "anatomical"),
        ("--landmark-noise", args.landmark_noise != "measured"),
        ("--known-hand-length", args.known_hand_length),
    )
    for option, given in chosen:
        if given:
            raise UsageError(f"--suite decides that by itself; leave {option} out")
    for model in args.model or ():
        if model.partition(":")[0] not in KINDS:
            forms = ", ".join(kind.form for kind in KINDS.values())
            raise UsageError(f"model {model!r} is unknown; expected one of {forms}")
    if args.photographs is not None:
        _check_photographs(args.photographs)


def _check_photographs(folder: Path) -> None:
    from hand_mesh_ros.sources.base import SourceError
    from hand_mesh_ros.sources.files import list_images

    if not folder.is_dir():
        raise UsageError(f"--photographs {folder}: no such folder; expected one of images")
    try:
        list_images(folder)
    except SourceError as error:
        raise UsageError(f"--photographs: {error}") from error


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, report; 1 where nothing could be evaluated."""
    from hand_mesh_ros.evaluation.detections import SharedDetector
    from hand_mesh_ros.evaluation.suite import MODELS, SuiteSettings, run_suite
    from hand_mesh_ros.evaluation.suite_report import suite_json, suite_tables

    settings = SuiteSettings(
        samples=args.samples or DEFAULT_SAMPLES,
        seed=args.seed,
        models=tuple(dict.fromkeys(args.model or MODELS)),
        photographs=args.photographs,
    )
    detector = SharedDetector()
    try:
        parts = run_suite(args.suite, settings, detector)
    finally:
        detector.close()
    print(suite_tables(parts))
    if args.report is not None:
        text = json.dumps(suite_json(args.suite, settings, parts), indent=2, allow_nan=False)
        write_text(args.report, text + "\n")
    return 0 if any(part.evaluation is not None for part in parts) else 1
