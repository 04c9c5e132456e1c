"""What runs a network: torch, ONNX Runtime or TensorRT, behind one contract."""
