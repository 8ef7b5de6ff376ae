package deploytest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// baseImages are the images of others that the Dockerfile and the compose file use.
func baseImages(t *testing.T, dockerfile, compose string) (images []string) {
	t.Helper()
	for _, match := range regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+:\S+) AS `).FindAllStringSubmatch(dockerfile, -1) {
		images = append(images, match[1])
	}
	for _, match := range regexp.MustCompile(`(?m)^ +image: ([^/\s]+(?:/\S+)?)$`).FindAllStringSubmatch(compose, -1) {
		if !strings.HasPrefix(match[1], "orderhub/") {
			images = append(images, match[1])
		}
	}
	require.Greater(t, len(images), 5)
	return images
}

func TestBaseImagesAreOfOneVersion(t *testing.T) {
	exact := regexp.MustCompile(`^[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?$`)
	for _, image := range baseImages(t, string(read(t, "deploy/Dockerfile")), string(read(t, "docker-compose.yml"))) {
		require.Regexp(t, exact, image)
	}
}

// make pin-images, with a registry of the test's own.
func TestImagesCanBePinned(t *testing.T) {
	root := t.TempDir()
	digest := "sha256:" + strings.Repeat("0a", 32)
	for _, name := range []string{"scripts/pin-images.sh", "deploy/Dockerfile", "docker-compose.yml"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), read(t, name), 0o755))
	}
	crane := filepath.Join(root, "crane")
	pin := func(digest string) (string, error) {
		require.NoError(t, os.WriteFile(crane, []byte("#!/bin/sh\n[ \"$1\" = digest ] && echo "+digest+"\n"), 0o755))
		cmd := exec.Command(filepath.Join(root, "scripts", "pin-images.sh"), "v0")
		cmd.Env = append(os.Environ(), "CRANE="+crane)
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	pinned := func() []string {
		dockerfile, err := os.ReadFile(filepath.Join(root, "deploy", "Dockerfile"))
		require.NoError(t, err)
		compose, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
		require.NoError(t, err)
		return baseImages(t, string(dockerfile), string(compose))
	}
	before := pinned()
	for _, one := range []string{digest, strings.Replace(digest, "0a", "ff", 1)} { // a digest is replaced by the next one
		output, err := pin(one)
		require.NoError(t, err, output)
		for i, image := range pinned() {
			name, _, _ := strings.Cut(before[i], "@")
			require.Equal(t, name+"@"+one, image)
		}
	}
	output, err := pin("nothing")
	require.Error(t, err)
	require.Contains(t, output, "the registry gave no digest")
}

// A tag of an action can be moved by whoever takes the action over; a commit can't.
func TestActionsArePinnedToCommits(t *testing.T) {
	workflows, err := filepath.Glob(inRepository(".github", "workflows", "*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, workflows)
	for _, workflow := range workflows {
		content, err := os.ReadFile(workflow)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`uses: (.*)`).FindAllStringSubmatch(string(content), -1) {
			require.Regexp(t, `^[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`, match[1])
		}
		require.Contains(t, string(content), "permissions:\n  contents: read\n")
	}
}

// Renovate finds the tools of the Makefile by the expression in its configuration.
func TestRenovateFindsTheTools(t *testing.T) {
	var config struct {
		CustomManagers []struct {
			MatchStrings []string `json:"matchStrings"`
		} `json:"customManagers"`
	}
	require.NoError(t, json.Unmarshal(read(t, "renovate.json"), &config))
	require.Len(t, config.CustomManagers, 1)
	// JavaScript's groups are (?<name>…); Go's may be since 1.22.
	expression := regexp.MustCompile(config.CustomManagers[0].MatchStrings[0])
	makefile := string(read(t, "Makefile"))
	versions := regexp.MustCompile(`(?m)^[A-Z]+_VERSION := .*$`).FindAllString(makefile, -1)
	require.Len(t, expression.FindAllString(makefile, -1), len(versions))
}

// The script that lists the licenses refuses what a person has to judge.
func TestLicensesAreRecognizedOrRefused(t *testing.T) {
	script := string(read(t, "scripts/licenses.sh"))
	begin, end := strings.Index(script, "classify() {"), strings.Index(script, "\nmodules=")
	require.Positive(t, begin)
	for text, want := range map[string]string{
		"Permission is hereby granted, free of charge, to any person":                   "MIT",
		"Apache License\n   Version 2.0, January 2004":                                  "Apache-2.0",
		"Redistribution and use in source and binary\nforms, with":                      "BSD-2-Clause",
		"Redistribution and use in source and binary forms\nNeither the name of Google": "BSD-3-Clause",
		"GNU GENERAL PUBLIC LICENSE Version 3":                                          "forbidden",
		"GNU AFFERO GENERAL PUBLIC LICENSE":                                             "forbidden",
		"All rights reserved.":                                                          "unknown",
		"Apache License Version 2.0 … Permission is hereby granted, free of charge":     "Apache-2.0 AND MIT",
	} {
		file := filepath.Join(t.TempDir(), "LICENSE")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		output, err := exec.Command("sh", "-euc", script[begin:end]+"\nclassify "+file).CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Equal(t, want, strings.TrimSpace(string(output)), text)
	}
}
