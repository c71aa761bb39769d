# The server as a small image: built with the pinned Rust for what it does under load (deploy/build.sh), run as a user of its own on a file system that it cannot write.
# Used by docker-compose.yml; a test keeps the version equal to rust-toolchain.toml.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    program=$(deploy/build.sh) && cp "$program" /formledger

FROM debian:12.11-slim
# Certificates, for databases that are spoken to over TLS.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/formledger --create-home formledger \
    && install --directory --owner formledger --mode 0700 /var/lib/formledger-attachments
COPY --from=build /formledger /usr/local/bin/formledger
COPY --chmod=755 deploy/healthy.sh /usr/local/bin/healthy.sh
USER formledger
WORKDIR /var/lib/formledger
EXPOSE 8080
ENTRYPOINT ["formledger"]
CMD ["serve"]
