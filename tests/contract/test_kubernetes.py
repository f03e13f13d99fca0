"""The manifests of deploy/kubernetes: names that Kubernetes and KServe know, and a server that does what they say."""

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
    """Return the documents of each manifest in turn, as they are written and as the models understand them."""
    done = subprocess.run(
        command("kserve", "manifest_calls.py", str(request.param)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(written, understood) for written, understood in json.loads(done.stdout)]


@pytest.fixture
def pod(documents: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return the pod that a manifest asks for."""
    spec = documents[0][0]["spec"]
    return dict(spec["predictor"] if "predictor" in spec else spec["template"]["spec"])


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the pod's one container."""
    (container,) = pod["containers"]
    return dict(container)


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return the variables that the container is given."""
    return {each["name"]: each["value"] for each in container["env"]}


def probes(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the kubelet asks."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            yield container[name]["httpGet"]


def test_every_name_is_known(documents: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Kubernetes' and KServe's own models know every name, each value of its type."""
    for written, understood in documents:
        assert written == understood


def test_the_settings_are_the_servers(container: dict[str, Any]) -> None:
    """The variables are settings, and their values are taken."""
    given = environment(container)
    assert set(given) <= {variable(field.name) for field in fields(Settings)}
    from_environment(given)


def test_the_port_is_one(documents: list[tuple[dict[str, Any], dict[str, Any]]], container: dict[str, Any]) -> None:
    """The server listens where the probes, the service and Prometheus look."""
    (port,) = container["ports"]
    assert str(port["containerPort"]) == environment(container)["PORT"] == re.findall(r"PORT=(\d+)", IMAGE)[0]
    assert {probe["port"] for probe in probes(container)} <= {port["name"], port["containerPort"]}
    for written, _ in documents:
        if written["kind"] == "Service":
            assert written["spec"]["ports"][0]["targetPort"] == port["name"]
    assert f'"prometheus.io/port": "{port["containerPort"]}"' in json.dumps(documents[0][0])


def test_it_runs_as_the_images_user(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """The pod's user is the image's, without rights, its root only read, and /tmp there for files."""
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
    """A pod isn't killed before its server gives up by itself."""
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits + int(environment(container)["LIFEBOAT_DRAIN_S"])


def test_kserve_finds_the_container() -> None:
    """The predictor's container has the name that KServe looks for."""
    assert "- name: kserve-container" in (ROOT / "deploy" / "kubernetes" / "kserve.yaml").read_text()


def test_the_server_does_what_the_pod_expects(container: dict[str, Any], passenger: dict[str, Any]) -> None:
    """With the pod's variables: every probe answers 200, a model answers by its own name, and SIGTERM drains."""
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
        httpx.get(f"http://{host}:{port}/v2/health/live")  # answered behind what the caller has sent
        process.signal(signal.SIGTERM)
        process.read_until("Waiting for connections to close")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{host}:{port}/v2/health/ready")
        caller.send(body[5:])
        assert json.loads(caller.getresponse().read())["label"] == "survived"
        caller.close()
        assert process.end() == 0
