"""Bad input gets an error that names the field, and nothing is stored."""

import json
from typing import get_args

import pytest
from building import add_dataset, add_node
from sqlalchemy import func, select

from nvae_core.config import DatasetSource, PathSource
from services.database.tables import Dataset, Event, Job

JSON = {"Content-Type": "application/json"}
TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}

BAD_JOBS = [
    pytest.param(TRAIN | {"preset": "mnits"}, "/preset", "mnist-cpu", id="unknown preset"),
    pytest.param(TRAIN | {"epochs": 3}, "/epochs", "not permitted", id="unknown field"),
    pytest.param(TRAIN | {"dataset": "cats"}, "/dataset", "cats", id="unknown data set"),
    pytest.param(TRAIN | {"dataset": "half"}, "/dataset", "preparing", id="unready data set"),
    pytest.param(TRAIN | {"dataset": "large"}, "/dataset", "64×64", id="wrong image size"),
    pytest.param(TRAIN | {"dataset": "colour"}, "/dataset", "3 colours", id="wrong colours"),
    pytest.param(
        TRAIN | {"resources": {"nodes": 2}}, "/resources/nodes", "1 have", id="too many nodes"
    ),
    pytest.param(
        TRAIN | {"resources": {"labels": {"gpu": "h100"}}},
        "/resources/labels",
        "no node has them",
        id="labels of no node",
    ),
    pytest.param(
        TRAIN | {"resources": {"slots": 3}}, "/resources/slots", "has 2", id="too many slots"
    ),
    pytest.param(
        TRAIN | {"resources": {"slots": "many"}}, "/resources/slots", "integer", id="no number"
    ),
    pytest.param(
        TRAIN | {"overrides": {"optimization.epochs": 0}},
        "/overrides/optimization.epochs",
        "greater than or equal to 1",
        id="override out of range",
    ),
    pytest.param(
        TRAIN | {"overrides": {"model.depth": 3}},
        "/overrides/model.depth",
        "not permitted",
        id="override of no field",
    ),
    pytest.param(
        TRAIN | {"overrides": {"depth": 3}}, "/overrides", "model.<field>", id="no part named"
    ),
    pytest.param(
        TRAIN | {"overrides": {"model.num_preprocess_blocks": 6}},
        "/overrides",
        "halved",
        id="impossible hierarchy",
    ),
    pytest.param(
        TRAIN | {"overrides": {"optimization.batch_size": 4501}},
        "/overrides/optimization.batch_size",
        "4500",
        id="batch larger than the data set",
    ),
    pytest.param(
        TRAIN | {"compute": {"gradient_accumulation": 7}},
        "/compute/gradient_accumulation",
        "batch_size of 150",
        id="micro-batches of unequal size",
    ),
    pytest.param(
        {"kind": "sample", "checkpoint": "ckpt_1"}, "/checkpoint", "ckpt_1", id="no checkpoint"
    ),
    pytest.param(
        {"kind": "sample", "checkpoint": "ckpt_1", "temperature": -1},
        "/temperature",
        "greater than 0",
        id="temperature out of range",
    ),
    pytest.param({"kind": "dream"}, "/kind", "train", id="unknown kind"),
    pytest.param({"name": "n"}, "/kind", "discriminator", id="no kind"),
    pytest.param({"kind": "analyze"}, "/analysis", "discriminator", id="no analysis"),
    pytest.param(
        {"kind": "analyze", "analysis": "dream"}, "/analysis", "nearest", id="unknown analysis"
    ),
    pytest.param(
        {"kind": "analyze", "analysis": "training_curves", "jobs": ["j", "j"]},
        "/jobs",
        "differ",
        id="one job twice",
    ),
    pytest.param(
        {"kind": "analyze", "analysis": "nearest_images", "checkpoint": "ckpt_1", "dataset": "d"},
        "/checkpoint",
        "ckpt_1",
        id="analysis of no checkpoint",
    ),
    pytest.param(TRAIN | {"name": "a\0b"}, "/name", "pattern", id="zero character"),
    pytest.param(TRAIN | {"dataset": "\ud800"}, "/dataset", "unicode", id="lone surrogate"),
    pytest.param(
        TRAIN | {"checkpoint": {"every_steps": 10**400}},
        "/checkpoint/every_steps",
        "less than",
        id="number of 400 digits",
    ),
    pytest.param(
        TRAIN | {"overrides": {"model.num_groups_per_scale": [5, "x"]}},
        "/overrides/model.num_groups_per_scale",
        "integer",
        id="override of a wrong type",
    ),
]


@pytest.fixture
async def inventory(database):
    await add_dataset(database, "mnist")
    await add_dataset(database, "large", height=64, width=64)
    await add_dataset(database, "colour", num_colors=3)
    half = await add_dataset(database, "half")
    async with database.transaction() as session:
        (await session.get(Dataset, half.id)).status = "preparing"
    await add_node(database, num_slots=2)


async def count(database, table):
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(table))


@pytest.mark.usefixtures("inventory")
@pytest.mark.parametrize(("body", "pointer", "words"), BAD_JOBS)
async def test_bad_job_is_refused_by_field(api, database, body, pointer, words):
    response = await api.post("/v1/jobs", content=json.dumps(body), headers=JSON)
    problem = response.json()
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert words in problem["detail"]
    if pointer:
        assert pointer in [error["pointer"] for error in problem["errors"]]
    assert await count(database, Job) == await count(database, Event) == 0


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"kind": "bundled", "name": "faces"}, "/source/name"),
        ({"kind": "folder", "path": "x", "image_size": 2}, "/source/image_size"),
        ({"kind": "folder", "path": "x"}, "/source/image_size"),
        ({"kind": "mnist", "path": "x", "origin": "/etc"}, "/source/origin"),
        ({"kind": "zip", "path": "", "image_size": 28}, "/source/path"),
        ({"kind": "array", "path": "a\0b"}, "/source/path"),
        ({"kind": "web"}, "/source/kind"),
    ],
)
async def test_bad_source_is_refused_by_field(api, database, source, pointer):
    response = await api.post("/v1/datasets", json={"name": "d", "source": source})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert await count(database, Dataset) == await count(database, Job) == 0


KINDS_WITH_A_PATH = {
    source.model_fields["kind"].default: source
    for source in get_args(get_args(DatasetSource)[0])
    if issubclass(source, PathSource)
}
FORBIDDEN_PATHS = [
    pytest.param("/etc", "relative to the nodes' folder", id="absolute"),
    pytest.param("../x", "without '..'", id="above"),
    pytest.param("x/../../y", "without '..'", id="above, from below"),
    pytest.param("s3://bucket/private/x", "below one of: s3://bucket/datasets/", id="prefix"),
    pytest.param("s3://bucket/datasets2/x", "below one of", id="prefix of a name"),
    pytest.param("s3://other/datasets/x", "below one of", id="bucket"),
    pytest.param("s3://bucket/datasets/../private", "no part", id="above a prefix"),
    pytest.param("s3://bucket/datasets//x", "no part", id="nothing between slashes"),
    pytest.param("s3://bucket", "must be s3://bucket/prefix", id="no prefix"),
    pytest.param("S3://bucket/datasets/x", "not a path", id="capital scheme"),
    pytest.param("http://127.0.0.1/x.zip", "not a path", id="another scheme"),
    pytest.param("file:///etc", "not a path", id="file scheme"),
]


def test_every_kind_but_the_bundled_one_has_a_path_that_is_checked():
    assert set(KINDS_WITH_A_PATH) == {
        *("folder", "zip", "array", "mnist", "cifar10", "imagenet32"),
        *("celeba", "celeba_hq", "ffhq"),
    }


@pytest.mark.parametrize("kind", KINDS_WITH_A_PATH)
@pytest.mark.parametrize(("path", "words"), FORBIDDEN_PATHS)
async def test_path_outside_of_what_is_allowed_is_refused(api, database, kind, path, words):
    source = {"kind": kind, "path": path}
    if KINDS_WITH_A_PATH[kind].model_fields.get("image_size"):
        source["image_size"] = 28
    response = await api.post("/v1/datasets", json={"name": "d", "source": source})
    [problem] = response.json()["errors"]
    assert (response.status_code, problem["pointer"]) == (422, "/source/path")
    assert words in problem["message"]
    assert await count(database, Dataset) == await count(database, Job) == 0


async def test_source_below_an_allowed_prefix_is_accepted(api, database):
    source = {"kind": "mnist", "path": "s3://bucket/datasets/mnist"}
    response = await api.post("/v1/datasets", json={"name": "d", "source": source})
    assert response.status_code == 201
    assert response.json()["dataset"]["source"] == source


async def test_second_data_set_of_a_name_is_a_conflict(api, inventory):
    body = {"name": "mnist", "source": {"kind": "bundled", "name": "mnist_5k"}}
    response = await api.post("/v1/datasets", json=body)
    assert response.status_code == 409
    assert response.json()["errors"][0]["pointer"] == "/name"


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 422), (b"[]", 422), (b'{"kind": NaN}', 422), (b"\xff", 400)],
)
async def test_malformed_body_is_refused(api, content, status):
    response = await api.post("/v1/jobs", content=content, headers=JSON)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_body_above_one_mebibyte_is_refused(api):
    response = await api.post("/v1/jobs", content=b"x" * 1_100_000, headers=JSON)
    assert response.status_code == 413


@pytest.mark.parametrize(
    "path",
    ["jobs/job_x", "jobs/job_x/metrics", "checkpoints/ckpt_x", "datasets/x", "nothing", "jobs/%00"],
)
async def test_what_does_not_exist_is_not_found(api, path):
    response = await api.get(f"/v1/{path}")
    assert response.status_code == (422 if "%00" in path else 404)
    assert response.json()["code"] in {"not_found", "invalid_request"}
