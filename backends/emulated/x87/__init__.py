"""The x87 unit, in the 80-bit arithmetic that the engine lacks: numbers, and the instructions on them."""
