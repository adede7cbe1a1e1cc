"""How long the tests of faults look, and where, from the environment."""

import os

IS_FULL = os.environ.get("NVAE_FAULTS") == "full"
"""Minutes instead of seconds."""
SEED = int(os.environ.get("NVAE_FAULTS_SEED", "1"))
"""Of what is drawn at random; the same one finds the same."""
