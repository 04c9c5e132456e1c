"""The executable's own process: what it says and how it ends."""

import os
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy is not importable")
pytest.importorskip("hand_mesh_ros.msg", reason="needs hand_mesh_ros built by colcon and sourced")

from dds_peers import Program

COMMAND = "-c", "from hand_mesh_ros.ros.rclpy_node import main; raise SystemExit(main())"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "max_hand:=1"), ['"max_hand" is unknown', 'did you mean "max_hands"?']),
        (("-p", "max_hands:=0"), ["max_hands", "got 0", "an integer from 1 to 16"]),
        (("--nonsense",), ["ROS does not take the arguments", "--nonsense"]),
    ],
)
def test_started_wrongly_it_ends_with_2_and_one_line(domain, arguments, words):
    environment = {"PYTHONPATH": os.environ["PYTHONPATH"], "ROS_DOMAIN_ID": str(domain)}
    with Program([sys.executable, *COMMAND, "--ros-args", *arguments], **environment) as program:
        line = program.log_line("hand_mesh_node: ")
        assert program.finish() == 2
    for word in words:
        assert word in line
    assert not any("Traceback" in said for said in program.log)
