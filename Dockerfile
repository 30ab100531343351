# The image holds one static binary and nothing else.
#
#   docker build -t natlens .
#   docker run --rm -it --net=host --pid=host --privileged \
#     -v /var/run/docker.sock:/var/run/docker.sock -v /run:/run natlens watch icmp
#
# --net=host: natlens watches from the host's own network namespace.
# --pid=host, /run: it finds the containers' namespaces by process and by mount.
# --privileged: it enters them (CAP_SYS_ADMIN), opens packet sockets (CAP_NET_RAW)
# and reads conntrack (CAP_NET_ADMIN).
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# BuildKit sets TARGETOS and TARGETARCH; without it the machine's own are built.
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags=-s -o /natlens ./cmd/natlens

FROM scratch
LABEL org.opencontainers.image.title="natlens" \
      org.opencontainers.image.description="Shows what Docker's networking does to a packet, before and after NAT" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /natlens /natlens
COPY LICENSE /LICENSE
ENTRYPOINT ["/natlens"]
