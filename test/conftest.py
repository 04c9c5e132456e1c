"""What holds for all tests."""

import signal

from hand_mesh_ros.numpy_threads import use_one_numpy_thread

# As in every program of the package: equal input gives equal bytes only with equal threads, and
# NumPy's threads take turns with the detector's until nothing moves.
use_one_numpy_thread()

# What is started by a shell in the background ignores Ctrl-C, and so would the programs that tests
# start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
