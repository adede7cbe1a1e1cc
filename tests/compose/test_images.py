"""What is in the images, and what is not."""

import json
import subprocess

from images import API, VERSION, WORKER, size_bytes

MEGABYTE = 1000 * 1000


def test_api_image_is_small_and_has_no_torch(engine):
    assert size_bytes(engine, API) < 350 * MEGABYTE
    program = "import importlib.metadata as m; print({d.name for d in m.distributions()})"
    listing = engine.docker("run", "--rm", API, "python", "-c", program)
    assert "'fastapi'" in listing
    assert "'torch'" not in listing


def test_worker_image_has_kernels_and_the_pinned_torch(engine):
    program = (
        "import torch; from nvae_core.kernels.library import find_library;"
        " print(torch.__version__, find_library() is not None)"
    )
    printed = engine.docker("run", "--rm", WORKER, "python", "-c", program)
    assert printed.startswith("2.13.0+cpu True")


def test_images_run_as_nobody_in_particular_and_say_their_version(engine):
    for image in (API, WORKER):
        [facts] = json.loads(engine.docker("image", "inspect", image, show=False))
        assert facts["Config"]["User"] == "10001:10001"
        assert facts["Config"]["Labels"]["org.opencontainers.image.version"] == VERSION


def test_no_secret_is_in_a_layer(engine, planted_passwords):
    assert len(planted_passwords) == 7
    pattern = "|".join(planted_passwords)
    for image in (API, WORKER):
        history = engine.docker("history", "--no-trunc", "--format={{.CreatedBy}}", image)
        assert not any(password in history for password in planted_passwords)
        search = f"docker save {image} | grep --text --extended-regexp --count '{pattern}'"
        found = subprocess.run(
            ["bash", "-c", search],
            env=engine.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.stdout.strip() == "0", image
        files = "find / -xdev ( -name .env -o -name pip.conf -o -name .git -o -name id_rsa )"
        left = engine.docker("run", "--rm", "--user=0", image, *files.split())
        assert left.strip() == ""
