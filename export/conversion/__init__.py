"""Conversion of fitted pipelines to ONNX, and verification of the result."""
