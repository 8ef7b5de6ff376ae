#!/bin/sh
# Builds the release VERSION of the commit that is checked out into dist/VERSION:
#
#   orderhub_VERSION_OS_ARCH.tar.gz  the programs
#   orderhub_VERSION_source.tar.gz   the context from which deploy/Dockerfile builds the images
#   orderhub-X.Y.Z.tgz               the Helm chart
#   *.cdx.json                       an SBOM (CycloneDX) of each program
#   SHA256SUMS
#
# Two builds of a commit are equal byte for byte: programs contain no paths, and the
# archives have one order, one owner, and the time of the commit.
#
# Usage: scripts/release.sh VERSION CYCLONEDX_VERSION. PLATFORMS and PROGRAMS restrict what is
# built, for tests.
set -eu
version=$1 cyclonedx=$2
cd "$(dirname "$0")/.."
: "${PLATFORMS:=linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}"
: "${PROGRAMS:=ingest-worker read-api nats-bridge orderctl}"

fail() {
	echo "$*" >&2
	exit 1
}

echo "$version" | grep -Eq '^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$' || fail "VERSION is $version, but versions look like v1.2.3"
[ -z "$(git status --porcelain)" ] || fail "the checkout has changes that are not committed: a release is built from a commit"
grep -q "^## \[\{0,1\}${version#v}" CHANGELOG.md || fail "CHANGELOG.md has no section ${version#v}"
grep -qx "appVersion: $version" deploy/helm/orderhub/Chart.yaml || fail "appVersion in deploy/helm/orderhub/Chart.yaml is not $version"

out=dist/$version
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
time=$(git log -1 --format=%ct)

# pack FILE FOLDER: a reproducible archive of a folder, by its name.
pack() {
	tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --mode=u+w,go-w,a+rX \
		--dereference -C "$(dirname "$2")" -cf - "$(basename "$2")" | gzip -9n >"$1"
}

for platform in $PLATFORMS; do
	os=${platform%/*} arch=${platform#*/}
	folder=$work/orderhub_${version}_${os}_$arch
	mkdir "$folder"
	cp LICENSE CHANGELOG.md docs/licenses.md "$folder"
	for program in $PROGRAMS; do
		CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=true \
			-ldflags "-s -w -X github.com/orderhub/orderhub/libs/platform/buildinfo.version=$version" \
			-o "$folder/" "./services/$program/cmd/$program"
	done
	pack "$out/$(basename "$folder").tar.gz" "$folder"
done
first=$work/orderhub_${version}_$(echo "${PLATFORMS%% *}" | tr / _)
for program in $PROGRAMS; do
	go run "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v$cyclonedx" bin -json -noserial -notimestamp \
		-version "$version" -output "$out/$program.cdx.json" "$first/$program"
done
git archive --format=tar --prefix="orderhub_${version}_source/" HEAD | gzip -9n >"$out/orderhub_${version}_source.tar.gz"
chart=$(sed -n 's/^version: //p' deploy/helm/orderhub/Chart.yaml)
pack "$out/orderhub-$chart.tgz" deploy/helm/orderhub
(cd "$out" && sha256sum -- *.tar.gz *.tgz *.json >SHA256SUMS)
cat "$out/SHA256SUMS"
