"""Tests of deploy/kubernetes: the manifests are valid, and the server behaves as they expect."""

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from server.settings import Settings, from_environment, variable
from tests.clients.client import command
from tests.server.support.process import HUNG_S, ServerProcess

ROOT: Final = Path(__file__).parents[2]
MANIFESTS: Final = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
IMAGE: Final = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module", params=MANIFESTS, ids=lambda path: path.name)
def documents(request: pytest.FixtureRequest) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each manifest's documents: as written, and as the Kubernetes and KServe models parse them."""
    done = subprocess.run(
        command("kserve", "manifest_calls.py", str(request.param)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(written, understood) for written, understood in json.loads(done.stdout)]


@pytest.fixture
def pod(documents: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return the pod that a manifest describes."""
    spec = documents[0][0]["spec"]
    return dict(spec["predictor"] if "predictor" in spec else spec["template"]["spec"])


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the pod's only container."""
    (container,) = pod["containers"]
    return dict(container)


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return the container's environment variables."""
    return {each["name"]: each["value"] for each in container["env"]}


def probes(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the HTTP requests of the kubelet's probes."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            yield container[name]["httpGet"]


def test_every_name_is_known(documents: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Kubernetes' and KServe's own models know every name and accept every value."""
    for written, understood in documents:
        assert written == understood


def test_the_settings_are_the_servers(container: dict[str, Any]) -> None:
    """The variables are settings with valid values."""
    given = environment(container)
    assert set(given) <= {variable(field.name) for field in fields(Settings)}
    from_environment(given)


def test_the_port_is_one(documents: list[tuple[dict[str, Any], dict[str, Any]]], container: dict[str, Any]) -> None:
    """The server listens on the port that the probes, the service and Prometheus use."""
    (port,) = container["ports"]
    assert str(port["containerPort"]) == environment(container)["PORT"] == re.findall(r"PORT=(\d+)", IMAGE)[0]
    assert {probe["port"] for probe in probes(container)} <= {port["name"], port["containerPort"]}
    for written, _ in documents:
        if written["kind"] == "Service":
            assert written["spec"]["ports"][0]["targetPort"] == port["name"]
    assert f'"prometheus.io/port": "{port["containerPort"]}"' in json.dumps(documents[0][0])


def test_it_runs_as_the_images_user(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """The pod runs as the image's user, without rights, with a read-only root and a writable /tmp."""
    context = pod["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in IMAGE
    assert context["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [each["mountPath"] for each in container["volumeMounts"]] == ["/tmp"]  # noqa: S108 # the container's own
    assert pod["volumes"][0]["name"] == container["volumeMounts"][0]["name"]


def test_it_has_the_time_to_drain(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """The pod's grace period is longer than its preStop wait plus the server's drain time."""
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits + int(environment(container)["LIFEBOAT_DRAIN_S"])


def test_kserve_finds_the_container() -> None:
    """The predictor's container has the name that KServe requires."""
    assert "- name: kserve-container" in (ROOT / "deploy" / "kubernetes" / "kserve.yaml").read_text()


def test_the_server_does_what_the_pod_expects(container: dict[str, Any], passenger: dict[str, Any]) -> None:
    """With the pod's variables, every probe succeeds, the model is ready, and SIGTERM drains."""
    body = json.dumps(passenger).encode()
    with ServerProcess(**environment(container) | {"PORT": "0"}) as process:
        host, port = process.address()
        with httpx.Client(base_url=f"http://{host}:{port}") as kubelet:
            for path in [probe["path"] for probe in probes(container)] + ["/v2/models/titanic/ready", "/metrics"]:
                assert kubelet.get(path).status_code == 200, path
        caller = http.client.HTTPConnection(host, port, timeout=HUNG_S)
        caller.putrequest("POST", "/api/predict")
        caller.putheader("content-length", str(len(body)))
        caller.endheaders(body[:5])
        httpx.get(f"http://{host}:{port}/v2/health/live")  # a response means that the server has read the request above
        process.signal(signal.SIGTERM)
        process.read_until("Waiting for connections to close")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{host}:{port}/v2/health/ready")
        caller.send(body[5:])
        assert json.loads(caller.getresponse().read())["label"] == "survived"
        caller.close()
        assert process.end() == 0
