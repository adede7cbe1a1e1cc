"""What every program does beside its work: how it ends, stops and stalls."""

import os

PARENT_AT_START = os.getppid()  # who started this rank; read before the slow imports
