#!/bin/sh
# Pins the images of deploy/Dockerfile and docker-compose.yml to the digests that their
# tags have now: name:tag becomes name:tag@sha256:…. It asks the registries through crane
# of the version given as the argument; CRANE names another program.
set -eu
version=$1
cd "$(dirname "$0")/.."
crane=${CRANE:-go run github.com/google/go-containerregistry/cmd/crane@$version}

images() {
	sed -n 's/^FROM \(--platform=[^ ]* \)*\([^ ]*:[^ ]*\) AS .*/\2/p' deploy/Dockerfile
	sed -n 's/^ *image: \([^ ]*:[^ ]*\).*/\1/p' docker-compose.yml
}

images | sed 's/@sha256:.*//' | sort -u | while read -r image; do
	digest=$($crane digest "$image")
	case $digest in
	sha256:????????????????????????????????????????????????????????????????) ;;
	*) echo "$image: the registry gave no digest: $digest" >&2; exit 1 ;;
	esac
	for file in deploy/Dockerfile docker-compose.yml; do
		sed "s|\([ =]\)$image\(@sha256:[0-9a-f]*\)\{0,1\}\( \{0,1\}\)|\1$image@$digest\3|" "$file" >"$file.pinned"
		cat "$file.pinned" >"$file" # keeps the file's mode
		rm "$file.pinned"
	done
	echo "$image@$digest"
done
