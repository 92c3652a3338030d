"""SSE instructions on floats where MXCSR matters: rounding, exception flags, exceptions."""
