"""The machines: one contract (`backends.base`), several ways to fulfil it."""
