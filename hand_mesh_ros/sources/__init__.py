"""Where frames come from when no ROS camera publishes them."""
