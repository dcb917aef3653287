# syntax=docker/dockerfile:1
# Two images of one build. They hold a program, the libraries it was linked with and certificates: no shell, no other program.
#
#   docker build --tag tidemill .
#   docker build --tag tidemill-producer --target producer .
#
# The build compiles for about 40 CPU minutes; a later one compiles what has changed. What is built elsewhere can be put in its place:
# deploy/image-root lays it out as /image/tidemill and /image/producer of a folder, and --build-context build=FOLDER uses that.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY librdkafka librdkafka
COPY producer producer
COPY src src
COPY deploy/image-root deploy/
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --workspace --bins \
    && deploy/image-root target/release/tidemill /image/tidemill \
    && deploy/image-root target/release/tidemill-producer /image/producer \
    && mkdir -p /image/state/tidemill

FROM scratch AS producer
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="tidemill-producer" \
      org.opencontainers.image.description="Card transactions as JSON lines, for demos of Tidemill" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/producer /
USER 65532:65532
# It serves nobody unless it is asked to, so whether its process lives is all there is to know.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/bin/tidemill-producer"]
CMD ["--hostname", "0.0.0.0"]

FROM scratch AS tidemill
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="tidemill" \
      org.opencontainers.image.description="SQL over streams in micro-batches, each row exactly once" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/tidemill /
# Of the user below, and so is a volume that is made from it: checkpoint and output.
COPY --from=build --chown=65532:65532 /image/state /var/lib
USER 65532:65532
WORKDIR /var/lib/tidemill
VOLUME /var/lib/tidemill
# Metrics and health; the live page and control stay inside unless the command says otherwise.
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["/usr/bin/tidemill", "health", "http://127.0.0.1:9464/healthz"]
ENTRYPOINT ["/usr/bin/tidemill"]
CMD ["run", "/etc/tidemill/pipeline.yaml", "--metrics", "0.0.0.0:9464"]
