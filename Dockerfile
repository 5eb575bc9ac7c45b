# One image for every part of Meshmart; the argument says which:
#
#   -m services.product.main            a service (product order payment user notification chat analytics
#                                       storefront loadgen); 0.0.0.0 or [::] in MESH_ADDRESS and its siblings
#   -m services.migrate [SERVICE …]     tables and seed of all services at MESHMART_DATABASE_URL: the chart's hook
#   -m meshmart.console …               the console
#   -m meshmart …                       the command
#
# It runs as 65532 over a read-only root; /tmp may be an emptyDir. There is no shell in it: the last stage starts
# from nothing and takes the interpreter, the libraries it loads, and /opt/meshmart (tools/image-root says how).
#
# `make image` builds it, with buildah or docker; docs/image.md. Nothing here names an architecture: each target
# installs its own wheels with its own pip, so `docker buildx build --platform linux/amd64,linux/arm64` does both.

# Any base with `python3 -m venv`, 3.11 or newer, on glibc and dpkg: the interpreter's place does not matter, because a
# virtual environment links to wherever it is, and /opt/meshmart is the same everywhere (`pip install --target`
# would do without links, but leaves no `meshmart` command, and a PYTHONPATH for each child to inherit).
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS installed
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Two environments, so that the one which ships never holds pip.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/meshmart
COPY requirements.lock /src/
# The secrets are optional: how a machine reaches its package index, which tools/image takes from its own pip.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /build/bin/pip --python /opt/meshmart/bin/python install -q --no-compile --require-hashes --only-binary :all: \
      -r /src/requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY mesh/pyproject.toml mesh/README.md /src/mesh/
COPY mesh/src /src/mesh/src
COPY services /src/services
COPY local /src/local
COPY meshmart /src/meshmart
COPY protos /src/protos
RUN /build/bin/pip --python /opt/meshmart/bin/python install -q --no-compile --no-deps --no-build-isolation --no-index /src/mesh /src \
 && /build/bin/pip --python /opt/meshmart/bin/python uninstall -q -y setuptools \
 && rm -rf /src/build /src/*.egg-info /src/mesh/build /src/mesh/src/*.egg-info

# For Tilt: with a shell and tar, and with room before the sources for those that it copies in (tilt/reload.py).
FROM installed AS dev
COPY tilt/reload.py /src/tilt/
ENV PATH=/opt/meshmart/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/tmp/src:/tmp/src/protos:/tmp/src/mesh/src:/src:/src/protos:/src/mesh/src \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["python"]

FROM installed AS root
COPY requirements-sbom.lock /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /build/bin/pip install -q --require-hashes --only-binary :all: -r /build/requirements-sbom.lock
COPY tools/image-root tools/image-sbom /build/
RUN /opt/meshmart/bin/python /build/image-root /root-fs \
 && /build/bin/python /build/image-sbom /opt/meshmart/bin/python /root-fs

# To be taken out: `--target sbom --output DIRECTORY`.
FROM scratch AS sbom
COPY --from=root /root-fs/usr/share/sbom/ /

FROM scratch
COPY --from=root /root-fs /
ENV PATH=/opt/meshmart/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["python"]
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=https://github.com/meshmart/meshmart
LABEL org.opencontainers.image.title="Meshmart" \
      org.opencontainers.image.description="A proxyless gRPC service mesh for Python, and a shop that runs on it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
