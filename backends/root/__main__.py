"""Started by its path in an isolated interpreter, which looks for modules in no directory of anybody's choice."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from backends.root.process import main

sys.exit(main(sys.argv[1:]))
