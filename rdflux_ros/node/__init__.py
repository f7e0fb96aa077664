"""The ROS 2 face: messages, parameters, lifecycle. The only package that knows rclpy; it computes nothing itself."""
