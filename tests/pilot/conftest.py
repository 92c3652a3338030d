"""How long the tests of this folder wait for the app."""

from tests.pilot.resting import rest_with_the_loop

__all__ = ["rest_with_the_loop"]
