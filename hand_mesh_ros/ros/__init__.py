"""The ROS 2 half: the node, its messages, and the two graphs that carry them."""
