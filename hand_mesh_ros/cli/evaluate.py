"""`hand-mesh evaluate`: how far models are from the truth, on a data set or on rendered hands."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hand_mesh_ros.cli import evaluate_suite
from hand_mesh_ros.cli.main import UsageError
from hand_mesh_ros.cli.report_file import check_writable, write_report

if TYPE_CHECKING:
    from hand_mesh_ros.evaluation.detections import SharedDetector
    from hand_mesh_ros.evaluation.models import EvaluatedModel
    from hand_mesh_ros.evaluation.runner import Evaluation
    from hand_mesh_ros.evaluation.samples import EvaluationSet
    from hand_mesh_ros.evaluation.submissions import SubmissionFormat

SYNTHETIC, DETECTED = "synthetic", "detected"
DEFAULT_MODEL = "pipeline:landmark_fit"
DEFAULT_SYNTHETIC_HANDS = 500
_ERRORS_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "--model",
        action="append",
        metavar="MODEL",
        help="pipeline:NAME[:CHECKPOINT], landmarks:NAME[:CHECKPOINT] (no image, synthetic hands "
        "only), m3dhmr[:CHECKPOINT] (crops around the true landmarks with the detector's errors, "
        "synthetic hands only) or mediapipe; again "
        f"for another one beside it (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--dataset",
        metavar="SPEC",
        help="NAME:FOLDER?option=value, such as freihand:/data/FreiHAND?split=evaluation, "
        f"{SYNTHETIC}: rendered hands (default), or {DETECTED}: the detector's landmarks of hands "
        "that it was shown (for models that see no image)",
    )
    parser.add_argument(
        "--suite",
        metavar="NAME",
        help="release: all models with weights in the package (or those of --model), on rendered "
        "hands by groups, under occlusion and on --photographs, in one table",
    )
    parser.add_argument(
        "--photographs",
        type=Path,
        metavar="DIR",
        help="--suite: folder of images, each with NAME_K.npy beside it where the camera is known",
    )
    parser.add_argument(
        "--samples",
        "--limit",
        type=int,
        metavar="N",
        help=f"{SYNTHETIC}: hands to draw (default: {DEFAULT_SYNTHETIC_HANDS}); a data set: a "
        "random subset of that size (default: all); a suite: hands of each part that is rendered "
        f"(default: {evaluate_suite.DEFAULT_SAMPLES})",
    )
    parser.add_argument(
        "--seed", type=int, default=1234, help="of synthetic hands and of subsets (default: 1234)"
    )
    parser.add_argument(
        "--keypoints",
        choices=("anatomical", "detector"),
        default="anatomical",
        help="which 21 points of models that know both (default: anatomical)",
    )
    parser.add_argument(
        "--landmark-noise",
        choices=("measured", "none"),
        default="measured",
        help=f"{SYNTHETIC}: errors of the landmarks that models without a detector get (default: "
        "measured)",
    )
    parser.add_argument(
        "--known-hand-length",
        action="store_true",
        help="tell each hand's true length to models that can use it",
    )
    parser.add_argument("--mano", default="", metavar="DIR", help="pipelines with MANO's hand")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was measured")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write plots and worst cases")
    parser.add_argument(
        "--submission", type=Path, metavar="FILE.zip", help="write what FreiHAND or HO3D asks for"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, report; 1 where images were damaged or no hand was found."""
    _check(args)
    if args.suite is not None:
        return evaluate_suite.run(args)
    from hand_mesh_ros.evaluation.detections import SharedDetector
    from hand_mesh_ros.evaluation.models import ModelError
    from hand_mesh_ros.evaluation.report import report_json, table, write_plots
    from hand_mesh_ros.evaluation.runner import evaluate
    from hand_mesh_ros.training.datasets import DatasetError

    detector = SharedDetector()
    try:
        samples, benchmark = _samples(args)
        server = _server(args, samples, benchmark)
        with contextlib.ExitStack() as stack:
            stack.callback(detector.close)
            models = _models(args, detector)
            for model in models:
                stack.callback(model.close)
            evaluation = evaluate(
                samples,
                models,
                limit=args.samples,
                seed=args.seed,
                keep_meshes=server is not None,
            )
    except (DatasetError, ModelError) as error:
        raise UsageError(str(error)) from error
    if not evaluation.hands and not evaluation.losses.corrupt_images:
        raise UsageError(f"{args.dataset} shows no labelled hand; expected at least one")
    if evaluation.hands and evaluation.hands == evaluation.unlabelled and server is None:
        raise UsageError(f"{args.dataset} has no keypoints to compare with; expected labels")

    print(table(evaluation))
    _print_published(evaluation, benchmark)
    if args.report is not None:
        report = report_json(evaluation, about=_about(args), benchmark=benchmark)
        write_report(args.report, report)
    if args.plots is not None:
        for path in write_plots(args.plots, evaluation, samples):
            print(path)
    if server is not None:
        _submit(args.submission, server, evaluation)
    return _exit_code(evaluation)


def _check(args: argparse.Namespace) -> None:
    """Refuse before anything long begins."""
    if args.samples is not None and args.samples < 1:
        raise UsageError(f"--samples is {args.samples}, expected 1 or more")
    if args.seed < 0:
        raise UsageError(f"--seed is {args.seed}, expected 0 or more")
    if args.suite is not None:
        evaluate_suite.check(args)
    elif args.photographs is not None:
        raise UsageError("--photographs belongs to --suite; expected --suite release with it")
    else:
        args.dataset = args.dataset or SYNTHETIC
        args.model = list(dict.fromkeys(args.model or [DEFAULT_MODEL]))
    check_writable(args.report)
    check_writable(args.submission, "--submission")
    if args.plots is not None:
        try:
            args.plots.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--plots {args.plots}: {error.strerror}") from error
    if args.submission is None:
        return
    if len(args.model) > 1 or args.samples is not None:
        raise UsageError("--submission takes one --model and the whole data set (no --samples)")


def _samples(args: argparse.Namespace) -> tuple[EvaluationSet, str | None]:
    """The set and its published table."""
    from hand_mesh_ros.evaluation.benchmarks import benchmark_of
    from hand_mesh_ros.evaluation.samples import DatasetSamples
    from hand_mesh_ros.training.datasets import DatasetError, dataset_names, open_dataset

    if args.dataset == SYNTHETIC:
        return _synthetic(args), None
    if args.dataset == DETECTED:
        return _detected(args), None
    if ":" not in args.dataset:
        raise DatasetError(
            f"dataset {args.dataset!r} is unknown; expected {SYNTHETIC}, {DETECTED}, or "
            f"NAME:FOLDER with one of these names: {', '.join(dataset_names())}"
        )
    dataset = open_dataset(args.dataset)
    if len(dataset) == 0:
        raise DatasetError(f"{args.dataset} has no samples; expected at least one")
    return DatasetSamples(dataset), benchmark_of(args.dataset, dataset)


def _synthetic(args: argparse.Namespace) -> EvaluationSet:
    from hand_mesh_ros.evaluation.landmarks import MeasuredLandmarks, exact_landmarks
    from hand_mesh_ros.evaluation.synthetic_hands import SyntheticHands
    from hand_mesh_ros.hand_models.open_hand import load_open_hand

    landmarks = exact_landmarks
    on_images = ("pipeline", "mediapipe")
    if args.landmark_noise == "measured" and any(
        spec.partition(":")[0] not in on_images for spec in args.model
    ):
        try:
            landmarks = MeasuredLandmarks()
        except OSError as error:
            raise UsageError(
                f"the measured landmark noise cannot be read ({error}); expected a complete "
                "install, or --landmark-noise none"
            ) from error
    count = args.samples or DEFAULT_SYNTHETIC_HANDS
    return SyntheticHands(load_open_hand(), count, args.seed, landmarks=landmarks)


def _detected(args: argparse.Namespace) -> EvaluationSet:
    from hand_mesh_ros.evaluation.detected_hands import DetectedHands
    from hand_mesh_ros.hand_models.open_hand import load_open_hand

    if args.landmark_noise == "none":
        raise UsageError(f"--landmark-noise none belongs to {SYNTHETIC}: these are a detector's")
    try:
        return DetectedHands(load_open_hand())
    except OSError as error:
        raise UsageError(
            f"the detector's landmarks cannot be read ({error}); expected a complete install"
        ) from error


def _models(args: argparse.Namespace, detector: SharedDetector) -> list[EvaluatedModel]:
    from hand_mesh_ros.evaluation.models import ModelOptions, build_model

    options = ModelOptions(
        keypoints=args.keypoints,
        known_hand_length=args.known_hand_length,
        mano_dir=args.mano,
        detector=detector,
    )
    return [build_model(spec, options) for spec in args.model]


def _server(
    args: argparse.Namespace, samples: EvaluationSet, benchmark: str | None
) -> SubmissionFormat | None:
    from hand_mesh_ros.evaluation.benchmarks import server_of

    if args.submission is None:
        return None
    server = server_of(benchmark)
    if server is None:
        raise UsageError(
            f"--submission: {args.dataset} has no server; expected freihand or ho3d with "
            "?split=evaluation"
        )
    if len(samples) != server.num_samples:
        raise UsageError(
            f"--submission: {args.dataset} has {len(samples)} images, {server.name}'s server "
            f"expects {server.num_samples}"
        )
    return server


def _about(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "dataset": args.dataset,
        "seed": args.seed,
        "known_hand_length": args.known_hand_length,
        "landmark_noise": args.landmark_noise,
    }


def _print_published(evaluation: Evaluation, benchmark: str | None) -> None:
    from hand_mesh_ros.evaluation.report import comparison

    for result in evaluation.results:
        beside = comparison(result, benchmark)
        if beside is not None:
            print(beside.as_markdown())


def _submit(path: Path, server: SubmissionFormat, evaluation: Evaluation) -> None:
    from hand_mesh_ros.evaluation.submission_file import write_submission_of

    try:
        missed = write_submission_of(path, server, evaluation.results[0])
    except ValueError as error:
        raise UsageError(f"--submission {path}: {error}") from error
    print(f"{path}: {missed} of {server.num_samples} hands were missed and have the mean hand")


def _exit_code(evaluation: Evaluation) -> int:
    errors = evaluation.losses.corrupt_images
    for line in errors[:_ERRORS_SHOWN]:
        print(f"hand-mesh evaluate: {line}", file=sys.stderr)
    if len(errors) > _ERRORS_SHOWN:
        print(f"hand-mesh evaluate: ... and {len(errors) - _ERRORS_SHOWN} more", file=sys.stderr)
    if errors:
        print(
            f"hand-mesh evaluate: {len(errors)} damaged images were left out, "
            f"{evaluation.hands} hands were evaluated",
            file=sys.stderr,
        )
    silent = [r.name for r in evaluation.results if not r.cases]
    if silent:
        print(
            f"hand-mesh evaluate: {', '.join(silent)} found none of {evaluation.hands} hands",
            file=sys.stderr,
        )
    return 1 if errors or silent else 0
