"""`python -m hand_mesh_ros.cli`: the `hand-mesh` command without its script."""

import sys

from hand_mesh_ros.cli.main import main

sys.exit(main())
