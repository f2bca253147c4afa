"""The parts that stand in for nothing: what the demo and the other tests rest on."""
