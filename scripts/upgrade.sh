#!/usr/bin/env bash
# scripts/upgrade.sh [COMMIT]: builds the programs of an earlier release from git, and runs
# TestUpgrade with them. Without COMMIT, or with "", it is the last release: the last version's
# tag or, where nobody has tagged it, the commit that gave CHANGELOG.md its heading.
# Exit code 4: this clone does not have that commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

last_release() {
	local version commit head
	head=$(git rev-parse HEAD)
	for version in $(sed -n 's/^## \([0-9][0-9.]*\) - .*/\1/p' CHANGELOG.md); do
		commit=$(git rev-parse --verify --quiet "v$version^{commit}") ||
			commit=$(git log --reverse --format=%H -S"## $version - " -- CHANGELOG.md | head -n 1)
		if [ -n "$commit" ] && [ "$commit" != "$head" ]; then
			echo "$commit"
			return
		fi
	done
}

wanted=${1:-}
if [ -z "$wanted" ] && [ "$(git rev-parse --is-shallow-repository)" = true ]; then
	echo "NOT TESTED: this clone is shallow, so its history does not tell which commit was the last release. Fetch all of it (git fetch --unshallow --tags), or name a commit: make test-upgrade PREVIOUS=…" >&2
	exit 4
fi
wanted=${wanted:-$(last_release)}
commit=$(git rev-parse --verify --quiet "$wanted^{commit}") || {
	echo "NOT TESTED: this clone has no commit \"$wanted\" to build the earlier release from: fetch it, or name another: make test-upgrade PREVIOUS=…" >&2
	exit 4
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/orderhub
programs=$cache/release-$commit
if [ ! -d "$programs" ]; then
	echo "building $(git log -1 --format='%h of %cs' "$commit")" >&2
	mkdir -p "$cache"
	source=$(mktemp -d "$cache/building-XXXXXX")
	trap 'rm -rf "$source"' EXIT
	git archive "$commit" | tar -x -C "$source"
	make -s -C "$source" build VERSION="$(git log -1 --format=%h "$commit")"
	mv "$source/bin" "$programs"
fi
ORDERHUB_TEST_PREVIOUS=$programs ORDERHUB_TEST_PREVIOUS_KAFKA=${KAFKA:-embedded} go test -count=1 -timeout 30m -v -run TestUpgrade ${TESTFLAGS:-} ./scripts/chaos
