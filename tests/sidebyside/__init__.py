"""pyloop beside stock asyncio: the same names, the same signatures, the same answers to calls that are wrong."""
