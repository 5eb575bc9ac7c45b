"""Helm 3 and Helm 4. Where one is missing its tests are skipped on a laptop, and fail in CI."""

import os

import pytest

from tests.chart import helm

#: Values of every mode and toggle.
MATRIX: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "existing secrets": ('tls.mode="existing-secret"', 'services.order.tlsSecret="order-certificate"'),
    "generated certificates": ('tls.mode="generated"',),
    "own issuer": ('tls.issuerRef={"name":"corporate","kind":"ClusterIssuer"}',),
    "bundle in a ConfigMap": ('tls.trustBundle.configMap="roots"', 'tls.trustBundle.key="bundle.pem"'),
    "bundle in a Secret": ('tls.trustBundle.secret="roots"', 'tls.mode="existing-secret"'),
    "own database": (
        'database.existingSecret="db"',
        "database.port=6432",
        'networkPolicy.databaseTo=[{"ipBlock":{"cidr":"10.1.0.0/16"}}]',
        'database.tls={"caConfigMap":"roots","caKey":"root.pem","clientSecret":"db-client"}',
    ),
    "own telemetry": (
        'otlp.endpoint="http://collector.telemetry:4317"',
        "otlp.metrics=true",
        'otlp.pagesUrl="https://traces.example.com"',
        "prometheus.enabled=false",
        "grafana.enabled=false",
        "monitoring.podMonitor.enabled=true",
        'monitoring.podMonitor.labels={"release":"kps"}',
        "monitoring.prometheusRule.enabled=true",
        'networkPolicy.scrapeFrom=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]',
        'networkPolicy.otlpTo=[{"namespaceSelector":{"matchLabels":{"name":"telemetry"}}}]',
    ),
    "service monitors": ("monitoring.serviceMonitor.enabled=true", "monitoring.dashboards.enabled=false"),
    "no telemetry": ("jaeger.enabled=false", "prometheus.enabled=false", "grafana.enabled=false"),
    "autoscaling": (
        'default.autoscaling={"enabled":true,"behavior":{"scaleDown":{"stabilizationWindowSeconds":60}}}',
        'default.pdb={"maxUnavailable":"25%"}',
        "seed.demoUsers=true",  # the load would log in as them
    ),
    "ingress": (
        'ingress={"enabled":true,"className":"nginx","host":"shop.example.com","tlsSecret":"shop-tls"}',
        'networkPolicy.pagesFrom=[{"namespaceSelector":{}}]',
    ),
    "to try things out": ("toolbox.enabled=true", "faults.enabled=true"),
    "console": (
        "console.enabled=true",
        'networkPolicy.pagesFrom=[{"namespaceSelector":{}}]',
        'console.ingress={"enabled":true,"className":"nginx","host":"console.example.com","tlsSecret":"c"}',
        'networkPolicy.consoleFrom=[{"namespaceSelector":{}}]',
    ),
    "console with switches": (
        "console.enabled=true",
        "console.switches.enabled=true",
        'console.persistence.storageClass="fast"',
        'tls.trustBundle.configMap="roots"',
    ),
    "mail": (
        'mail={"host":"mail.example.com","from":"S <s@example.com>","user":"u","passwordSecret":"mail"}',
        'mail.caSecret="mail-ca"',
    ),
    "all off": (
        "networkPolicy.enabled=false",
        "migrations.enabled=false",
        "default.pdb.enabled=false",
        "postgres.persistence.enabled=false",
        "default.topologySpread=[]",
        "services.loadgen.enabled=false",
    ),
    "placement": (
        'imagePullSecrets=["registry"]',
        "runAsUser=null",
        'bindAddress="[::]"',
        f'image={{"digest":"sha256:{"0" * 64}","pullPolicy":"Always"}}',
        'default={"nodeSelector":{"a":"b"},"tolerations":[{"operator":"Exists"}],"priorityClassName":"high",'
        '"affinity":{"podAntiAffinity":{}},"podLabels":{"team":"shop"},"podAnnotations":{"a":"b"},'
        '"serviceAccountAnnotations":{"role":"arn"},"env":{"MESH_RETRY_MAX_ATTEMPTS":"2"},'
        '"extraEnv":[{"name":"HOST_IP","valueFrom":{"fieldRef":{"fieldPath":"status.hostIP"}}}]}',
    ),
    "one more service": (
        'services.shipping={"calls":["user"],"module":"acme.shipping","replicas":1}',
        'signingKeys.existingSecret="keys"',
        'postgres={"password":"p@ss/word","persistence":{"storageClass":"fast","whenDeleted":"Delete"}}',
    ),
}


@pytest.fixture(scope="session", params=[3, 4], ids=["helm3", "helm4"])
def each_helm(request: pytest.FixtureRequest) -> helm.Helm:
    """Helm 3, then Helm 4."""
    major: int = request.param
    found = helm.find()
    if major not in found:
        message = f"Helm {major} is not installed: go install helm.sh/helm/v{major}/cmd/helm@latest"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return helm.Helm(major, found[major])


@pytest.fixture(params=list(MATRIX.values()), ids=list(MATRIX))
def rendered(request: pytest.FixtureRequest, each_helm: helm.Helm) -> helm.Rendered:
    """The chart under each set of values."""
    return each_helm.render(*request.param)


@pytest.fixture
def defaults(each_helm: helm.Helm) -> helm.Rendered:
    """The chart as it comes."""
    return each_helm.render()
