#!/bin/sh
# Prints docs/licenses.md: the modules that the released programs contain, with their
# licenses, as `go list` and the modules' own files have them. A license that is not
# recognized, or that is not allowed, is an error: it asks for a person's judgment.
set -eu
cd "$(dirname "$0")/.."
allowed='Apache-2.0 BSD-2-Clause BSD-3-Clause ISC MIT MPL-2.0'

# classify prints the SPDX identifiers of a license's text, joined by AND.
classify() {
	text=$(tr -s '[:space:]' ' ' <"$1")
	found=
	has() { case $text in *"$1"*) return 0 ;; esac; return 1; }
	add() { found=${found:+$found AND }$1; }
	if has 'GNU GENERAL PUBLIC LICENSE' || has 'GNU AFFERO' || has 'GNU LESSER' || has 'Server Side Public License' || has 'Business Source License'; then
		echo forbidden
		return
	fi
	! has 'Apache License Version 2.0' && ! has 'Apache License, Version 2.0' || add Apache-2.0
	! has 'Mozilla Public License Version 2.0' && ! has 'Mozilla Public License, version 2.0' || add MPL-2.0
	! has 'Permission is hereby granted, free of charge' || add MIT
	! has 'Permission to use, copy, modify, and/or distribute' && ! has 'Permission to use, copy, modify, and distribute' || add ISC
	if has 'Redistribution and use in source and binary forms'; then
		if has 'Neither the name' || has 'names of its contributors' || has 'may not be used to endorse'; then add BSD-3-Clause; else add BSD-2-Clause; fi
	fi
	echo "${found:-unknown}"
}

modules=$(for program in ingest-worker nats-bridge read-api orderctl; do
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' "./services/$program/cmd/$program"
done | grep -v '^github.com/orderhub/orderhub/' | LC_ALL=C sort -u)

cat <<'HEAD'
# Licenses

The released programs contain Go's standard library (BSD-3-Clause) and these modules. `make licenses` writes
this page; CI fails where it is out of date, and for a license that is not one of
HEAD
echo "$(echo "$allowed" | sed 's/ /, /g'). The SBOMs that \`make sbom\` writes list what each program has, with versions."
cat <<'HEAD'

| Module | License |
|---|---|
HEAD
echo "$modules" | while read -r path version dir; do
	file=$(find "$dir" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'unlicense*' \) | LC_ALL=C sort | head -n 1)
	license=unknown
	[ -z "$file" ] || license=$(classify "$file")
	for one in $(echo "$license" | sed 's/ AND / /g'); do
		case " $allowed " in *" $one "*) ;; *) echo "$path $version: its license ($license) is not allowed: see $file" >&2; exit 1 ;; esac
	done
	echo "| $path | $license |"
done
