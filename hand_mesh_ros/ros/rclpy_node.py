"""The hand_mesh node as a ROS 2 lifecycle node: `ros2 lifecycle set /hand_mesh ...` and back."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.parameter import Parameter

from hand_mesh_ros.assembly import build_pipeline
from hand_mesh_ros.ros.node import HandMeshNode, Pipeline
from hand_mesh_ros.ros.parameters import SPEC_OF_NAME, NodeParameters, ParameterError
from hand_mesh_ros.ros.rclpy_graph import RclpyGraph
from hand_mesh_ros.ros.rclpy_parameters import declare_parameters

_OK, _ERROR = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.ERROR


class ManagedHandMesh:
    """Builds, starts, stops and frees a `HandMeshNode` as ROS asks; `autostart` asks by itself.

    Args:
        arguments: command line without the program's name.
        build: makes the pipeline at configure, which may take minutes; None: `build_pipeline`.
        domain_id: ROS domain; ROS_DOMAIN_ID, or 0, if None.

    Raises:
        ValueError: arguments or parameters that cannot be used.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        build: Callable[[NodeParameters], Pipeline] | None = None,
        domain_id: int | None = None,
    ) -> None:
        self.node: HandMeshNode | None = None
        """From configure to cleanup."""
        node_class = partial(_TransitionNode, self)
        self.graph = RclpyGraph(
            "hand_mesh", arguments=arguments, domain_id=domain_id, node_class=node_class
        )
        self._build = build or partial(build_pipeline, log=self.graph.log.info)
        try:
            self.parameters = NodeParameters.from_overrides(self.graph.parameter_overrides())
            declare_parameters(self.graph.node, self.parameters)
        except Exception:
            self.graph.shutdown()
            raise
        self.graph.node.add_on_set_parameters_callback(self._on_set_parameters)
        if self.parameters.autostart:
            self.graph.run_on_thread(self._autostart)

    def configure(self) -> TransitionCallbackReturn:
        """Build the pipeline; its node has publishers and services from now on."""
        pipeline = None
        try:
            pipeline = self._build(self.parameters)
            self.node = HandMeshNode(self.graph, self.parameters, pipeline)
        except Exception as error:
            if pipeline is not None:
                pipeline.close()
            return self._failed("configure", error)
        gc.freeze()  # what was loaded stays: no collection has to look at it again
        return _OK

    def activate(self) -> TransitionCallbackReturn:
        """Listen and work."""
        return self._try("activate", lambda node: node.activate())

    def deactivate(self) -> TransitionCallbackReturn:
        """Neither listen nor work."""
        return self._try("deactivate", lambda node: node.deactivate())

    def cleanup(self) -> TransitionCallbackReturn:
        """Free all that configure has made."""
        node, self.node = self.node, None
        try:
            if node is not None:
                node.close()
        except Exception as error:
            return self._failed("clean up", error)
        finally:
            self.graph.remove_outputs()
            gc.unfreeze()
            gc.collect()
        return _OK

    def close(self) -> None:
        """Leave, wherever the node is in its life."""
        self.graph.stop_callbacks()
        self.cleanup()
        self.graph.shutdown()

    def _autostart(self) -> None:
        ros = self.graph.node
        if ros.trigger_configure() == _OK:
            ros.trigger_activate()

    def _try(self, what: str, action: Callable[[HandMeshNode], None]) -> TransitionCallbackReturn:
        try:
            if self.node is None:
                raise RuntimeError("the node is not configured")
            action(self.node)
        except Exception as error:
            return self._failed(what, error)
        return _OK

    def _failed(self, what: str, error: Exception) -> TransitionCallbackReturn:
        """Say why; ROS goes on to the error state, and from there to unconfigured."""
        # What a user can mend is one line; all else is ours, and needs its traceback.
        expected = isinstance(error, (ValueError, OSError, ImportError))
        self.graph.log.error(
            f"cannot {what}: {error}" if expected else f"cannot {what}: {error!r}",
            exc_info=None if expected else error,
        )
        return _ERROR

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        ours = {p.name: p.value for p in changes if p.name in SPEC_OF_NAME}
        try:
            is_configured = self.node is not None
            self.parameters = self.parameters.changed(ours, is_configured=is_configured)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.node is not None:
            self.node.parameters = self.parameters
        return SetParametersResult(successful=True)


class _TransitionNode(LifecycleNode):
    """Hands ROS's transitions on."""

    def __init__(self, managed: ManagedHandMesh, *args: Any, **options: Any) -> None:
        self._managed = managed
        super().__init__(*args, **options)

    def on_configure(self, state: object) -> TransitionCallbackReturn:
        return self._managed.configure()

    def on_activate(self, state: object) -> TransitionCallbackReturn:
        return self._managed.activate()

    def on_deactivate(self, state: object) -> TransitionCallbackReturn:
        return self._managed.deactivate()

    def on_cleanup(self, state: object) -> TransitionCallbackReturn:
        return self._managed.cleanup()

    def on_shutdown(self, state: object) -> TransitionCallbackReturn:
        return self._managed.cleanup()

    def on_error(self, state: object) -> TransitionCallbackReturn:
        """Free what there is; the node is unconfigured then, and can be tried again."""
        return self._managed.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 2 where it was started wrongly."""
    try:
        managed = ManagedHandMesh(sys.argv[1:] if arguments is None else arguments)
    except ValueError as error:
        print(f"hand_mesh_node: {error}", file=sys.stderr)
        return 2
    try:
        managed.graph.spin()
    finally:
        managed.close()
    return 0
