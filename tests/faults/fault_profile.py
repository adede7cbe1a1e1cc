"""How much the fault tests try, from the environment."""

import os

IS_FULL = os.environ.get("NVAE_FAULTS") == "full"
"""`make test-faults`: minutes instead of seconds."""

SEED = int(os.environ.get("NVAE_FAULTS_SEED", "1"))
"""Of random faults and of hypothesis; the same seed gives the same run."""
