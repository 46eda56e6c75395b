"""The article's demo."""

from components.ownership import OURS
from tests.unit.graph import dev, stack, values

LABELS = {"app": "fcdemo3"}


def test_the_deployment_is_the_articles() -> None:
    deployment = dev()["fcdemo-deployment"]
    assert deployment.type == "kubernetes:apps/v1:Deployment"
    assert deployment.inputs == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fcdemo3", "namespace": "default", "labels": {**LABELS, **OURS}},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "containers": [
                        {
                            "name": "fcdemo3",
                            "image": "mcas/franceconnect-demo2:latest",
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"containerPort": 3000}],
                            "readinessProbe": {"httpGet": {"path": "/", "port": 3000}},
                            "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
                        }
                    ]
                },
            },
        },
    }
    assert "cilium-ready" in dev().before(deployment), "pods need the network"


def test_the_service_is_a_load_balancer_on_80_and_comes_after_its_pods() -> None:
    service = dev()["fcdemo-service"]
    assert service.type == "kubernetes:core/v1:Service"
    assert service.inputs == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "fcdemo-service", "namespace": "default", "labels": {**LABELS, **OURS}},
        "spec": {
            "type": "LoadBalancer",
            "selector": LABELS,
            "ports": [{"name": "http", "port": 80, "targetPort": 3000, "protocol": "TCP"}],
        },
    }
    assert "fcdemo-deployment" in dev().before(service)


def test_image_and_number_of_pods_are_configured() -> None:
    spec = stack(values(fcdemo={"image": "registry.example/demo:1", "replicas": 2}))["fcdemo-deployment"].inputs["spec"]
    assert spec["replicas"] == 2
    assert spec["template"]["spec"]["containers"][0]["image"] == "registry.example/demo:1"


def test_without_it_nothing_of_it_is_there_or_asked_for() -> None:
    its = stack(values(fcdemo={"enabled": False}))
    assert not [resource.name for resource in its if resource.name.startswith("fcdemo")]
    assert "default/fcdemo-service" not in its["proof-addresses"].ran().parameters
    assert len(its["proof-routes"].ran().parameters) == 5, "no HTTP answer is asked for"


def test_it_gives_the_services_address() -> None:
    assert dev().outputs_of("fcdemo") == {"loadBalancerIp": "10.26.23.35"}
