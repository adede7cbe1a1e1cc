"""Programs that work on one run directory."""

import os

PARENT_AT_START = os.getppid()  # read before the slow imports: who started this rank
