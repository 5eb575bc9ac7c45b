"""The dashboard of identities: certificates, the policy, users' tokens, and refused callers."""

from tools.dashboards.model import ALL, HERE, Board, Panel, Query, Row, increase, rate

_CERTIFICATES = Row(
    "Certificates",
    [
        Panel(
            "Lifetime left",
            "Lowest remaining fraction of a replica's certificate: renewed at a third, late below a fifth.",
            "percentunit",
            [Query(f"min by (service) (replica:certificate_left:ratio{HERE})", "{{service}}")],
            runbooks=["MeshCertificateNotRenewed"],
        ),
        Panel(
            "Expires in",
            "The first of a service's replicas.",
            "s",
            [
                Query(
                    f"min by (service) (mesh_certificate_expiry_timestamp_seconds{{{ALL}}}) - time()",
                    "{{service}}",
                )
            ],
            runbooks=["MeshCertificateExpiring"],
        ),
        Panel(
            "CA expires in",
            "The first CA above the certificates of a service's replicas.",
            "s",
            [
                Query(
                    f"min by (service) (mesh_issuer_expiry_timestamp_seconds{{{ALL}}}) - time()",
                    "{{service}}",
                )
            ],
            runbooks=["MeshIssuerNotRenewed", "MeshIssuerExpiring"],
        ),
        Panel(
            "What is wrong",
            "Replicas whose identity has ended (current), or that do not take the renewed one, by cause.",
            "short",
            [
                Query(
                    f"sum by (service, identity, cause) (mesh_identity_problem{{{ALL}}})",
                    "{{service}} {{identity}}: {{cause}}",
                )
            ],
            width=12,
            runbooks=["MeshIdentityEnded", "MeshIdentityNotRenewed"],
        ),
        Panel(
            "Reloads",
            "Reloads of certificates by running processes: accepted or refused.",
            "short",
            [Query(increase("mesh_certificate_reloads_total", "service, result"), "{{service}} {{result}}")],
            width=12,
            runbooks=["MeshCertificateReloadFailed"],
        ),
        Panel(
            "Handshakes",
            "TLS connections that clients began.",
            "cps",
            [Query(rate("mesh_tls_handshakes_total", "service"), "{{service}}")],
            width=12,
        ),
        Panel(
            "Failed handshakes",
            "TLS handshakes that failed: no certificate, a foreign CA, or a port scan.",
            "short",
            [Query(increase("mesh_tls_handshake_failures_total", "service"), "{{service}}")],
            width=12,
            runbooks=["MeshHandshakesFailing"],
        ),
    ],
)

_REFUSED = Row(
    "Refused workloads",
    [
        Panel(
            "Callers without a valid identity",
            "Callers that our CA certified, but that are no workload of this mesh or use an old TLS version.",
            "short",
            [Query(increase("mesh_identity_refused_total", "service, reason"), "{{service}} {{reason}}")],
            runbooks=["MeshIdentityRefused"],
        ),
        Panel(
            "Denied by the policy",
            "Calls per second that the policy denied, averaged over five minutes.",
            "reqps",
            [Query(f"sum by (service) (rate(replica:authz_denials:sum{HERE}[5m]))", "{{service}}")],
            runbooks=["MeshCallsDenied"],
        ),
        Panel(
            "Policy reloads",
            "Policy files that were loaded, or refused; after a refusal the last good policy stays in force.",
            "short",
            [Query(increase("mesh_policy_reloads_total", "service, result"), "{{service}} {{result}}")],
            runbooks=["MeshPolicyReloadFailed"],
        ),
        Panel(
            "Who was denied what",
            "Denied calls by caller and method since the processes started.",
            "short",
            [
                Query(
                    f'sum by (service, caller, method) (mesh_authz_denials_total{{{ALL}, caller!="other"}})',
                    "",
                )
            ],
            kind="table",
            width=24,
        ),
    ],
)

_USERS = Row(
    "Users",
    [
        Panel(
            "Tokens",
            "Tokens that were verified, found in the cache, rejected, or not verified for lack of a key.",
            "reqps",
            [Query(rate("mesh_auth_tokens_total", "result"), "{{result}}")],
            runbooks=["MeshTokensRejected"],
        ),
        Panel(
            "Rejected tokens by service",
            "",
            "reqps",
            [Query(rate("mesh_auth_tokens_total", "service", f'{ALL}, result="rejected"'), "{{service}}")],
        ),
        Panel(
            "Keys, and how they are fetched",
            "Verification keys that services hold.",
            "short",
            [
                Query(f"min by (service) (mesh_auth_keys{{{ALL}}})", "{{service}} keys"),
                Query(increase("mesh_auth_key_fetches_total", "result"), "fetches {{result}}"),
            ],
            runbooks=["MeshTokensUnverifiable"],
        ),
    ],
)

IDENTITY = Board(
    "meshmart-identity",
    "Meshmart: identity",
    "Certificates, the policy, users' tokens, and who was refused.",
    [_CERTIFICATES, _REFUSED, _USERS],
)
