package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
)

const statsPath = "/api/v1/stats"

// client keeps no connections. It shows a token to no other host.
var client = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}

// get asks a program, with a token if there is one.
func get(ctx context.Context, address, path string, token config.Secret) (*http.Response, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+path, nil)
	if err != nil {
		return nil, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 8<<20))
	return answer, body, err
}

// api asks the read API without a credential, and then with the one of the settings.
func api(ctx context.Context, r *report) (string, error) {
	if r.API == "" {
		return "", unknown("no address: say with --api where the read API is")
	}
	began := time.Now()
	answer, _, err := get(ctx, r.API, statsPath, "") //nolint:bodyclose // get does
	if err != nil {
		return "", fmt.Errorf("%w: start the read API, or say where it is with --api", err)
	}
	if now, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		r.clock("clock_skew", r.API, now.Add(time.Second/2), began) // it is cut to the second
	}
	address, _ := url.Parse(r.API) // it was asked
	switch {
	case answer.StatusCode == http.StatusUnauthorized && r.Token == "":
		return "", unknown("a request without a credential is refused, as it should be; set ORDERHUB_API_TOKEN to try a token, too")
	case answer.StatusCode == http.StatusOK && !config.IsLoopbackHost(address.Hostname()):
		r.find("open", r.API, "a request without a credential is answered: everybody who reaches the API may read all orders")
	case answer.StatusCode == http.StatusUnauthorized:
		if answer, _, err = get(ctx, r.API, statsPath, r.Token); err != nil { //nolint:bodyclose // get does
			return "", err
		}
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return "answers as it should with and without a credential", nil
	case http.StatusUnauthorized:
		r.find("token_refused", r.API, "the token of ORDERHUB_API_TOKEN is not valid")
	case http.StatusForbidden:
		r.find("token_scopes", r.API, "the token of ORDERHUB_API_TOKEN may not read orders")
	default:
		return "", fmt.Errorf("%s%s answers %s", r.API, statsPath, answer.Status)
	}
	return "", nil
}

// buildInfo has revision, service and version.
var buildInfo = regexp.MustCompile(`(?m)^orderhub_build_info\{.*revision="(.*)",service="(.*)",version="(.*)"\} 1$`)

// programs asks the admin ports whether their programs are ready, and which they are.
func programs(ctx context.Context, r *report) (string, error) {
	if len(r.Admin) == 0 {
		return "", unknown("no addresses: name the admin ports of worker, API, console and bridge with --admin")
	}
	own := buildinfo.Read()
	for _, address := range r.Admin {
		_, metrics, err := get(ctx, address, "/metrics", "")      //nolint:bodyclose // get does
		ready, body, readyErr := get(ctx, address, "/readyz", "") //nolint:bodyclose // get does
		if err = cmp.Or(err, readyErr); err != nil {
			r.find("unreachable", address, err.Error())
			continue
		}
		build := buildInfo.FindStringSubmatch(string(metrics))
		if build == nil {
			r.find("no_metrics", address, "/metrics has no orderhub_build_info")
			continue
		}
		revision, service, version := build[1], build[2], build[3]
		if version != own.Version || revision != own.Revision {
			r.find("version_skew", service, fmt.Sprintf("%s is %s, revision %q; orderctl is %s, revision %q", address, version, revision, own.Version, own.Revision))
		}
		if ready.StatusCode != http.StatusOK {
			r.find("not_ready", service, address+": "+strings.TrimSpace(string(body)))
		}
	}
	return "ready, of one version: " + strings.Join(r.Admin, ", "), nil
}

// auditFolder looks at where the audit log of this machine's commands goes.
func auditFolder(_ context.Context, r *report) (string, error) {
	if r.Audit.To != audit.ToFile {
		return "ORDERHUB_AUDIT is " + r.Audit.To, nil
	}
	file, err := r.Audit.Path()
	if err != nil {
		return "", err
	}
	place := file // the file, or the first folder above it that exists
	for _, err := os.Stat(place); errors.Is(err, os.ErrNotExist); _, err = os.Stat(place) {
		place = filepath.Dir(place)
	}
	const write = 2
	if err := syscall.Access(place, write); err != nil {
		r.find("unwritable", file, fmt.Sprintf("%s: %v: commands that change something or reveal personal data are refused", place, err))
		return "", nil
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(place, &disk); err != nil {
		return "", err
	}
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:unconvert // their types differ between systems
	seen := fmt.Sprintf("%d MiB are free", free>>20)
	if free < 2*r.Audit.FileBytes {
		r.find("low_space", file, seen+", less than two files of ORDERHUB_AUDIT_FILE_BYTES take")
	}
	return seen, nil
}
