"""The engine of a Space with ZeroGPU."""
