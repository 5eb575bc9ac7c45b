"""Values that cannot work are refused before anything is installed, with the value's path."""

import pytest

from services.manifest import shop
from tests.chart.helm import Helm

STORING = [name for name, manifest in shop().items() if manifest.stores]

#: Settings, as for `--set-json`, and what the refusal says.
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "a misspelt service": (
        ("services.produkt.replicas=3",),
        "services.produkt: the shop has no such service",
    ),
    "metrics for nobody": (("otlp.metrics=true",), "otlp.metrics: needs otlp.endpoint"),
    "letters from nobody": (('mail={"host":"mail.example.com"}',), "mail.from: must say whom"),
    "a mail system that cannot be verified": (
        ('mail={"host":"mail.example.com","from":"shop@example.com"}',),
        "mail.caSecret: must be given with TLS",
    ),
    "a user without a password": (
        ('mail={"host":"mail.example.com","from":"shop@example.com","user":"shop"}',),
        "mail.user: goes with mail.passwordSecret",
    ),
    "a mail password in the clear": (
        ('mail={"host":"m","from":"shop@example.com","user":"shop","passwordSecret":"m","tls":"none"}',),
        "mail.tls: none would send the password",
    ),
    "a mail system that is not named": (('mail.from="shop@example.com"',), "mail.host: must be given"),
    "renewal before issuance": (
        ('tls.renewBefore="30h"',),
        "tls.renewBefore: 30h is not less than tls.duration, 24h",
    ),
    "renewal at issuance": (('tls.renewBefore="24h"',), "tls.renewBefore: 24h is not less than"),
    "ten minutes": (('tls.duration="10m"',), "tls.duration: 10m is less than 1h"),
    "ten minutes, generated": (
        ('tls.mode="generated"', 'tls.duration="10m"'),
        "tls.duration: 10m is less than 1h",
    ),
    "no time to renew": (('tls.renewBefore="30s"',), "tls.renewBefore: 30s is less than 5m"),
    "a CA shorter than its certificates": (('tls.ca.duration="12h"',), "tls.ca.duration: 12h is not more"),
    "an issuer that nobody asks": (
        ('tls.mode="generated"', 'tls.issuerRef.name="corporate"'),
        "tls.issuerRef.name: is for tls.mode cert-manager",
    ),
    "a generation of somebody else's CA": (
        ('tls.issuerRef.name="corporate"', "tls.ca.generation=2"),
        "tls.ca.generation: is of the chart's own CA",
    ),
    "a Secret that nobody mounts": (
        ('services.order.tlsSecret="mine"',),
        "services.order.tlsSecret: is for tls.mode existing-secret",
    ),
    "one certificate for two": (
        ('tls.mode="existing-secret"', 'services.order.tlsSecret="a"', 'services.user.tlsSecret="a"'),
        "services.user.tlsSecret: a is the certificate of services.order",
    ),
    "a policy that is no TOML": (('policy.text="[[allow"',), "policy.text: is no TOML"),
    "a policy of YAML": (('policy.text="allow: []"',), "policy.text: is no TOML"),
    "an unknown section": (('policy.text="[[deny]]\\nfrom = []"',), "policy.text: unknown section deny"),
    "a rule without methods": (
        ('policy.text="[[allow]]\\nfrom = [\\"client\\"]"',),
        "policy.text: [[allow]] number 1",
    ),
    "allow as a table": (('policy.text="[allow]\\nfrom = []"',), "policy.text: allow must be a list"),
    "least above most": (
        ('services.product.autoscaling={"enabled":true,"minReplicas":7}',),
        "services.product.autoscaling.minReplicas: 7 is more than maxReplicas, 6",
    ),
    "least above most, by default": (
        ('default.autoscaling={"enabled":true,"maxReplicas":1}',),
        "services.analytics.autoscaling.minReplicas: 2 is more than maxReplicas, 1",
    ),
    "scaling by a share of nothing": (
        ('default={"autoscaling":{"enabled":true},"resources":{"requests":{"cpu":null}}}',),
        "services.product.autoscaling.enabled: needs resources.requests.cpu",
    ),
    "called and switched off": (
        ("services.payment.enabled=false",),
        "services.order.calls: payment is switched off (services.payment.enabled)",
    ),
    "a load by people who are not there": (
        ("services.loadgen.replicas=1",),
        "services.loadgen.replicas: mix logs in as the demo users",
    ),
    "a label of the chart": (
        ('default.podLabels={"app.kubernetes.io/name":"x"}',),
        "services.order.podLabels: app.kubernetes.io/name is set by the chart",
    ),
    "a label of the ReplicaSet": (
        ('services.order.podLabels={"pod-template-hash":"x"}',),
        "services.order.podLabels: pod-template-hash is set by the chart",
    ),
    "an annotation of the chart": (
        ('services.order.podAnnotations={"kubectl.kubernetes.io/default-container":"x"}',),
        "services.order.podAnnotations: kubectl.kubernetes.io/default-container is set",
    ),
    "a label of a monitor": (
        ('monitoring.podMonitor={"enabled":true,"labels":{"helm.sh/chart":"x"}}',),
        "monitoring.podMonitor.labels: helm.sh/chart is set by the chart",
    ),
    "a label that is none": (('default.podLabels={"team":"a b"}',), "'/default/podLabels/team'"),
    "a key that is none": (('default.podLabels={"a b":"x"}',), "/default/podLabels"),
    "a variable from elsewhere": (
        ('services.order.env={"MESHMART_DATABASE_URL":"x"}',),
        "services.order.env: MESHMART_DATABASE_URL is set by the chart",
    ),
    "a variable twice": (
        ('services.order.extraEnv=[{"name":"MESH_SERVICE","value":"x"}]',),
        "services.order.extraEnv: MESH_SERVICE is there already",
    ),
    "a variable twice of one's own": (
        ('services.order.extraEnv=[{"name":"A","value":"x"},{"name":"A","value":"y"}]',),
        "services.order.extraEnv: A is there already",
    ),
    "a variable without a value": (('services.order.extraEnv=[{"name":"A"}]',), "/services/order/extraEnv/0"),
    "no eviction ever": (("default.pdb.maxUnavailable=0",), "/default/pdb/maxUnavailable"),
    "no eviction ever, in percent": (('default.pdb.maxUnavailable="0%"',), "/default/pdb/maxUnavailable"),
    "more asked than allowed": (
        ('services.order.resources={"requests":{"memory":"1Gi"}}',),
        "services.order.resources: requests.memory, 1Gi, is more than limits.memory, 256Mi",
    ),
    "more asked than allowed, elsewhere": (
        ('toolbox.resources={"requests":{"cpu":"1500m"},"limits":{"cpu":1}}',),
        "toolbox.resources: requests.cpu, 1500m, is more than limits.cpu, 1",
    ),
    "less than nothing": (
        ('default.resources={"requests":{"memory":-5}}',),
        "/default/resources/requests/memory",
    ),
    "spread twice": (
        (
            'default.topologySpread=[{"topologyKey":"a","maxSkew":1,"whenUnsatisfiable":"DoNotSchedule"},'
            '{"topologyKey":"a","maxSkew":2,"whenUnsatisfiable":"DoNotSchedule"}]',
        ),
        "services.order.topologySpread: a DoNotSchedule is there twice",
    ),
    "domains that do not bind": (
        (
            'default.topologySpread=[{"topologyKey":"a","maxSkew":1,"whenUnsatisfiable":"ScheduleAnyway",'
            '"minDomains":2}]',
        ),
        "services.order.topologySpread: minDomains needs whenUnsatisfiable DoNotSchedule",
    ),
    "pages without a port": (("services.storefront.web=false",), "services.storefront.web: must be true"),
    "an Ingress to nobody": (
        ("ingress.enabled=true", "services.storefront.enabled=false"),
        "ingress.enabled: there is no storefront",
    ),
    "a host that is none": (('ingress={"enabled":true,"host":"http://shop"}',), "/ingress/host"),
    "every series twice": (
        ("monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true"),
        "monitoring.serviceMonitor.enabled: with monitoring.podMonitor",
    ),
    "two databases": (
        ('database.existingSecret="mine"', 'postgres.password="x"'),
        "postgres.password: is of the bundled PostgreSQL",
    ),
    "certificates of no database": (
        ('database.tls.caSecret="ca"',),
        "database.tls: is for a database of your own",
    ),
    "a port of no database": (("database.port=6432",), "database.port: is for a database of your own"),
    "roles that nobody makes": (
        ("database.roles=true", "migrations.enabled=false"),
        "database.roles: are made by the migrations",
    ),
    "a wrong word for roles": (('database.roles="some"',), "/database/roles"),
    "two CAs of a database": (
        ('database={"existingSecret":"mine","tls":{"caSecret":"a","caConfigMap":"b"}}',),
        "database.tls: name caSecret or caConfigMap, not both",
    ),
    "more pods than connections": (
        tuple(f"services.{name}.replicas=10" for name in STORING),
        f"postgres.maxConnections: 200 is less than the {4 * 10 * len(STORING) + 3}",
    ),
    "any port of the API server": (("networkPolicy.apiServerPorts=[]",), "/networkPolicy/apiServerPorts"),
    "a peer of two kinds": (
        ('networkPolicy.pagesFrom=[{"ipBlock":{"cidr":"10.0.0.0/8"},"podSelector":{}}]',),
        "/networkPolicy/pagesFrom/0",
    ),
    "a peer of no kind": (("networkPolicy.pagesFrom=[{}]",), "/networkPolicy/pagesFrom/0"),
    "a pull Secret without a name": (('imagePullSecrets=[""]',), "/imagePullSecrets/0"),
    "a repository with its tag": (('image.repository="registry/meshmart:1"',), "/image/repository"),
    "a volume of nothing": (('postgres.persistence.size="0Gi"',), "/postgres/persistence/size"),
    "a toleration's operator": (
        ('default.tolerations=[{"key":"a","operator":"Equals","value":"b"}]',),
        "/default/tolerations/0",
    ),
    "a toleration of anything with a value": (
        ('default.tolerations=[{"key":"a","operator":"Exists","value":"b"}]',),
        "/default/tolerations/0",
    ),
    "a toleration's effect": (
        ('services.order.tolerations=[{"key":"a","operator":"Exists","effect":"NoSchedul"}]',),
        "/services/order/tolerations/0",
    ),
    "a toleration for a while of what does not evict": (
        ('default.tolerations=[{"key":"a","effect":"NoSchedule","tolerationSeconds":5}]',),
        "/default/tolerations/0",
    ),
    "a toleration of no key": (('default.tolerations=[{"effect":"NoSchedule"}]',), "/default/tolerations/0"),
    "a misspelt affinity": (('default.affinity={"nodeAfinity":{}}',), "/default/affinity"),
    "a misspelt rule of an affinity": (
        ('default.affinity={"podAntiAffinity":{"requiredDuringScheduling":[]}}',),
        "/default/affinity/podAntiAffinity",
    ),
    "a network beyond its bits": (
        ('networkPolicy.databaseTo=[{"ipBlock":{"cidr":"10.0.0.0/40"}}]',),
        "/networkPolicy/databaseTo/0",
    ),
    "a network without its bits": (
        ('networkPolicy.otlpTo=[{"ipBlock":{"cidr":"10.0.0.0"}}]',),
        "/networkPolicy/otlpTo/0",
    ),
    "a misspelt selector": (
        ('networkPolicy.scrapeFrom=[{"podSelector":{"matchLabel":{"a":"b"}}}]',),
        "/networkPolicy/scrapeFrom/0",
    ),
    "a proxy of three numbers": (('pages.trustedProxies=["10.0.0/8"]',), "/pages/trustedProxies/0"),
    "a Secret's name": (('seed.firstAdminSecret="A_B"',), "/seed/firstAdminSecret"),
    "a test user without a password": (('tests.user="bob"',), "tests.user: goes with tests.password"),
    "a password of no test user": (('tests.password="x"',), "tests.user: goes with tests.password"),
    "demo users without migrations": (
        ("migrations.enabled=false", "seed.demoUsers=true"),
        "seed.demoUsers: are made by the migrations",
    ),
    "a first admin without migrations": (
        ("migrations.enabled=false", 'seed.firstAdminSecret="a"'),
        "seed.firstAdminSecret: is read by the migrations",
    ),
    "signing keys elsewhere": (
        ("services.order.signingKeys=true",),
        "services.order.signingKeys: only the user service",
    ),
    "no signing keys": (("services.user.signingKeys=false",), "services.user.signingKeys: must be true"),
    "a store without a database": (
        ("services.order.database=false",),
        "services.order.database: must be true",
    ),
    "streams that outlast the drain": (
        ("services.chat.drain.streamGrace=60",),
        "services.chat.drain.streamGrace: 60 is more than drain.grace, 10",
    ),
    "a method without its service": (
        ('policy.text="[[allow]]\\nfrom = [\\"order\\"]\\nmethods = [\\"GetOrder\\"]"',),
        "policy.text: [[allow]] number 1: GetOrder is neither",
    ),
    "a misspelt caller": (
        ('policy.text="[[allow]]\\nfrom = [\\"ordr\\"]\\nmethods = [\\"ecommerce.OrderService/*\\"]"',),
        "policy.text: [[allow]] number 1: there is no service ordr",
    ),
    "a schedule that is none": (('tls.renewalSchedule="every hour"',), "/tls/renewalSchedule"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_its_path(each_helm: Helm, case: str) -> None:
    settings, told = REFUSED[case]
    refused = each_helm.template(*settings)
    assert refused.returncode != 0
    path = told.strip("'")
    # A schema's path is with slashes in both Helms, with a few words between.
    assert path in refused.stderr, refused.stderr


def test_every_contradiction_is_told_at_once(each_helm: Helm) -> None:
    refused = each_helm.template(
        'tls.renewBefore="30h"', "services.payment.enabled=false", "default.replicas=10"
    )
    for path in ("tls.renewBefore:", "services.order.calls:", "postgres.maxConnections:"):
        assert path in refused.stderr


ACCEPTED: dict[str, tuple[str, ...]] = {
    "quantities of other units": (
        'services.order.resources={"requests":{"cpu":"0.5","memory":"256Mi"},"limits":{"cpu":1,"memory":"300M"}}',
    ),
    "a service that nobody calls": ("services.loadgen.enabled=false",),
    "a service and its callers": (
        "services.storefront.enabled=false",
        "services.loadgen.enabled=false",
        "services.chat.enabled=false",
        'services.user.calls=["notification","order"]',
    ),
    "replicas that an autoscaler ignores": (
        'services.product={"replicas":1,"autoscaling":{"enabled":true}}',
    ),
    "times of a certificate that are not looked at": ('tls.mode="existing-secret"', 'tls.duration="10m"'),
    "labels of one's own": ('default.podLabels={"example.com/team":"shop"}',),
    "a variable that replaces the chart's": ('services.order.env={"MESH_RESOLVER_MAX_INTERVAL":"2"}',),
    "a load by demo users": ("services.loadgen.replicas=1", "seed.demoUsers=true"),
    "a load by nobody": ('services.loadgen={"replicas":1,"env":{"MESHMART_LOAD_SCENARIO":"browse"}}',),
    "tolerations": (
        'default.tolerations=[{"operator":"Exists"},{"key":"a","value":"b","effect":"NoExecute",'
        '"tolerationSeconds":5}]',
    ),
    "an affinity": (
        'default.affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":'
        '{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}',
    ),
    "networks": (
        'networkPolicy.pagesFrom=[{"ipBlock":{"cidr":"0.0.0.0/0","except":["10.0.0.0/8"]}},'
        '{"ipBlock":{"cidr":"2001:db8::/32"}}]',
        'pages.trustedProxies=["10.0.0.0/8","192.0.2.1","::1","fd00::/8"]',
    ),
    "a selector": (
        'networkPolicy.scrapeFrom=[{"podSelector":{"matchExpressions":[{"key":"a","operator":"In",'
        '"values":["b"]}]},"namespaceSelector":{}}]',
    ),
    "a partner in the policy": (
        'policy.text="[[allow]]\\nfrom = [\\"spiffe://partner.example/ns/a/sa/b\\", \\"client\\"]\\nmethods'
        ' = [\\"ecommerce.OrderService/*\\"]"',
    ),
    "ready for long": ("default.minReadySeconds=3600",),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_can_work_is_not_refused(each_helm: Helm, case: str) -> None:
    done = each_helm.template(*ACCEPTED[case])
    assert done.returncode == 0, done.stderr
